"""The endpoint as a WSGI application."""

from http.client import responses
from urllib.parse import quote_from_bytes

from hospital._mount import Mount

# What need not be quoted in a path.
SAFE = "/:@!$&'()*+,;=-._~"


class Application:
    """A WSGI application; its arguments are those of :class:`hospital._mount.Mount`."""

    def __init__(self, names=None, **settings):
        self.mount = Mount(names, **settings)

    def __call__(self, environ, start_response):
        """Answer a request."""
        method = environ['REQUEST_METHOD']
        fields = [(name[5:].replace('_', '-'), value) for name, value in environ.items() if name.startswith('HTTP_')]
        status, fields, body = self.mount.endpoint()(method, target(environ), fields)
        fields.append(('Content-Length', str(len(body))))
        start_response(f'{status} {responses.get(status, "Unknown")}', fields)
        return [] if method == 'HEAD' else [body]


def target(environ):
    """Return the target of a request, whose path WSGI has decoded."""
    path = quote_from_bytes((environ.get('PATH_INFO') or '/').encode('latin-1'), SAFE)
    query = environ.get('QUERY_STRING')
    return f'{path}?{query}' if query else path


application = Application()
