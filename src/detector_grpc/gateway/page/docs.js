// Swagger UI. Both scripts are deferred, so its bundle has run by now.
const spec = await (await fetch("/openapi.json")).json();

// What the query takes, forms and JSON take as well: once is enough to try it, and the query goes with every body.
for (const { requestBody } of Object.values(spec.paths).flatMap(Object.values)) {
  const { "multipart/form-data": form, "application/json": json } = requestBody?.content ?? {};
  if (form) {
    form.schema.properties = { file: form.schema.properties.file };
  }
  if (json) {
    json.example = { image: "the picture in base64" };
  }
}

// There is one, which this page comes from.
delete spec.servers;

window.SwaggerUIBundle({
  spec,
  dom_id: "#docs",
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null, // else it would ask a server elsewhere
});
