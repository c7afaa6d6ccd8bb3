"""The endpoint in Django: ``path('healthchecks/', include('hospital.django.urls'))``, and ``manage.py healthcheck``.

Put ``hospital.django`` into ``INSTALLED_APPS`` for the command; the URLs need nothing.
"""


def make_wsgi_view(application):
    """Return a view that a WSGI application answers: ``re_path(r'^healthchecks(/.*)$', make_wsgi_view(application))``.

    What the pattern captures last, or as ``path``, is the path that the application sees.
    """
    from django.http import HttpResponse
    from django.views.decorators.csrf import csrf_exempt

    @csrf_exempt
    def view(request, *captured, path=None, **_):
        rest = path if path is not None else captured[-1] if captured else request.path_info
        above = request.path_info[: len(request.path_info) - len(rest)]
        environ = dict(request.META)
        environ['SCRIPT_NAME'] = environ.get('SCRIPT_NAME', '') + latin(above.rstrip('/'))
        environ['PATH_INFO'] = latin('/' + rest.lstrip('/'))
        response = HttpResponse()
        del response.headers['Content-Type']

        def start_response(status, headers, exc_info=None):
            code, _, response.reason_phrase = status.partition(' ')
            response.status_code = int(code)
            for name, value in headers:
                response.headers[name] = value
            return response.write

        body = application(environ, start_response)
        try:
            for part in body:
                response.write(part)
        finally:
            close = getattr(body, 'close', None)
            if close:
                close()
        return response

    return view


def latin(text):
    """Return a path as WSGI has it: its bytes as characters."""
    return text.encode().decode('latin-1')
