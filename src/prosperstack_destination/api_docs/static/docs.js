// Show the OpenAPI document of this service. No validator: it would send the URL of the document to another host.
SwaggerUIBundle({
  dom_id: "#docs",
  url: "/openapi.json",
  validatorUrl: null,
  queryConfigEnabled: false,
  deepLinking: true,
  persistAuthorization: false,
});
