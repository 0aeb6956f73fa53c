// Swagger UI. Both scripts are deferred, so its bundle has run by now.
window.SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null, // else it would ask a server elsewhere
});
