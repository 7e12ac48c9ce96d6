"""The headers of every answer: of routes, the lane, problems, and answers to malformed requests.

uvicorn adds them, below ASGI, and the lane takes them over from there: they cost a grab nothing but their bytes.
"""

from grab_service.settings import Settings


def standing_headers(settings: Settings) -> list[tuple[str, str]]:
    """Headers for browsers on every answer; pages add a stricter policy of their own, and both hold."""
    headers = [
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "frame-ancestors 'none'"),
        ("referrer-policy", "no-referrer"),
    ]
    if settings.hsts_s:
        headers.append(("strict-transport-security", f"max-age={settings.hsts_s}"))
    if settings.allowed_origins:
        headers.append(("vary", "Origin"))  # a cache must not give to one what was said to another
    return headers
