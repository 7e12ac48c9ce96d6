// Shows the description that this service serves, and asks nobody else for anything.
SwaggerUIBundle({ url: "openapi.json", dom_id: "#calls", deepLinking: true, validatorUrl: null, queryConfigEnabled: false });
