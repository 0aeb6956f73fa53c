// Swagger UI. Both scripts are deferred, so its bundle has run by now.
const spec = await (await fetch("/openapi.json")).json();

// Else it would begin every field with a value of its own making, "string" or 0, and send it.
for (const { requestBody } of Object.values(spec.paths).flatMap(Object.values)) {
  const { "multipart/form-data": form, "application/json": json } = requestBody?.content ?? {};
  for (const field of Object.values(form?.schema.properties ?? {})) {
    field.example = field.type === "array" ? [] : "";
  }
  if (json) {
    json.example = { image: "the picture in base64" };
  }
}

/** Fields that were left empty are not meant to be sent, whatever Swagger UI ticks beside them. */
function withoutEmptyFields(request) {
  if (request.body instanceof FormData) {
    [...request.body].filter(([, value]) => value === "").forEach(([name]) => request.body.delete(name));
  }
  return request;
}

window.SwaggerUIBundle({
  spec,
  dom_id: "#docs",
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null, // else it would ask a server elsewhere
  requestInterceptor: withoutEmptyFields,
});
