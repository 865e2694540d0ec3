"""The page that shows the OpenAPI document: Swagger UI, served from this package."""
