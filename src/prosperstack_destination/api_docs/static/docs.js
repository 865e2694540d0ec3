// Shows this service's document. No validator: it would send the document's address to another host.
SwaggerUIBundle({
  dom_id: "#docs",
  url: "/openapi.json",
  validatorUrl: null,
  queryConfigEnabled: false,
  deepLinking: true,
  persistAuthorization: false,
});
