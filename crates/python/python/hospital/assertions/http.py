"""Assertions about HTTP resources."""
from __future__ import annotations

import errno
from typing import Any, Optional
from urllib.parse import urlsplit, urlunsplit

#: What tells of the other side. Everything else, such as a name that cannot be looked up, is an error of our own.
_THEIRS = {errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.ETIMEDOUT, errno.EHOSTUNREACH}
_THEIRS |= {errno.EHOSTDOWN, errno.ENOTCONN}


def assert_http_response(url: str, status_code: int = 200, timeout: float = 1, msg: Optional[str] = None) -> None:
    """Assert that GET `url` returns `status_code`, and wait for each step of that at most `timeout` seconds.

    Redirects are followed. A password and a query in `url` are kept out of the message.

    Raises `AssertionError` if the other side is at fault, and other exceptions if nothing can be said of it: for a URL
    that is none, a name that cannot be looked up, or when there are no descriptors left.
    """
    real, why = _get(url, timeout)
    if real is None:
        raise AssertionError(msg or f'Failed to fetch URL {_shown(url)}.\nException was: {why}')
    if real != status_code:
        raise AssertionError(msg or f'GET "{_shown(url)}" returned {real} status code. Expected {status_code}.')


def _get(url: str, timeout: float) -> tuple[Optional[int], str]:
    """The status code of the answer, else why there is none."""
    # Not at the top: whoever imports `hospital` for something else need not wait for them.
    import http.client
    import socket
    import ssl
    import urllib.error
    import urllib.request

    if urlsplit(url).scheme not in ('http', 'https'):
        raise ValueError(f'{_shown(url)} is not a URL, as in http://shop/ping')
    url, user = _without_user(url)
    site = urlsplit(url)[:2]

    class Redirects(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *args: Any) -> Optional[urllib.request.Request]:
            request = super().redirect_request(*args)
            if request and user and urlsplit(request.full_url)[:2] == site:
                request.add_unredirected_header('Authorization', user)
            return request

    # Whatever else an opener has by default reads files and asks FTP servers.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        Redirects(),
    ):
        opener.add_handler(handler)
    request = urllib.request.Request(url, headers={'User-Agent': 'hospital', 'Accept': '*/*'})
    if user:
        request.add_unredirected_header('Authorization', user)
    try:
        with opener.open(request, timeout=timeout) as response:
            return response.status, ''
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, ''
    except http.client.InvalidURL:
        raise
    except http.client.HTTPException as error:
        return None, f'it does not speak HTTP: {type(error).__name__} {error}'.strip()
    except OSError as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        # `socket.timeout` is `TimeoutError` since Python 3.10.
        if isinstance(reason, (ssl.SSLError, socket.timeout)) or getattr(reason, 'errno', None) in _THEIRS:
            return None, str(reason)
        raise


def _without_user(url: str) -> tuple[str, str]:
    """The URL without `user:password@`, and the value of the header field for these."""
    import base64
    from urllib.parse import unquote

    parts = urlsplit(url)
    if '@' not in parts.netloc:
        return url, ''
    user = f'{unquote(parts.username or "")}:{unquote(parts.password or "")}'
    field = base64.b64encode(user.encode()).decode()
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition('@')[2])), f'Basic {field}'


def _shown(url: str) -> str:
    """The URL without what may be secret in it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return 'it'
    shown = parts._replace(netloc=parts.netloc.rpartition('@')[2], query='…' if parts.query else '', fragment='')
    return urlunsplit(shown)
