"""Page of the API documentation: Swagger UI, served from this package."""
