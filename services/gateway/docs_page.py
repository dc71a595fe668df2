"""The page that shows the OpenAPI document."""

from starlette.responses import HTMLResponse, Response


def docs_page() -> Response:
    """Swagger UI from the files that BentoML serves itself; the page asks no third party for anything."""
    headers = {"Content-Security-Policy": "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; script-src 'self'"}
    return HTMLResponse(_DOCS_PAGE, headers=headers)


def docs_script() -> Response:
    """Starts Swagger UI; a file of its own, because the page's policy runs no inline script."""
    return Response(_DOCS_SCRIPT, media_type="text/javascript")


_DOCS_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Ekiben API</title>
<link rel="stylesheet" href="/static_content/swagger-ui.css">
</head>
<body>
<div id="api"></div>
<script src="/static_content/swagger-ui-bundle.js"></script>
<script src="/docs.js"></script>
</body>
</html>
"""

_DOCS_SCRIPT = """window.onload = () => SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#api", deepLinking: true, validatorUrl: null, tryItOutEnabled: true,
});
"""
