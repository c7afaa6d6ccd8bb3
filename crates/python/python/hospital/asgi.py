"""The endpoint as an ASGI application: ``uvicorn hospital.asgi:application``."""

import asyncio
from urllib.parse import quote

from hospital._mount import SAFE, Mount


class Application:
    """An ASGI application; its arguments are those of :class:`hospital._mount.Mount`."""

    def __init__(self, names=None, **settings):
        self.mount = Mount(names, **settings)

    async def __call__(self, scope, receive, send):
        """Answer a request, or take part in the server's life."""
        if scope['type'] == 'lifespan':
            await self._live(receive, send)
        elif scope['type'] == 'http':
            await self._answer(scope, send)
        else:
            await send({'type': 'websocket.close'})

    async def _answer(self, scope, send):
        fields = [(name.decode('latin-1'), value.decode('latin-1')) for name, value in scope['headers']]
        status, fields, body = await self._ask(scope['method'], target(scope), fields)
        fields.append(('content-length', str(len(body))))
        fields = [(name.encode('latin-1'), value.encode('latin-1')) for name, value in fields]
        await send({'type': 'http.response.start', 'status': status, 'headers': fields})
        await send({'type': 'http.response.body', 'body': b'' if scope['method'] == 'HEAD' else body})

    async def _ask(self, method, target, fields):
        loop = asyncio.get_running_loop()
        endpoint = self.mount.made() or await loop.run_in_executor(None, self.mount.endpoint)
        changed = asyncio.Event()
        pending = endpoint.begin(method, target, fields, lambda: loop.call_soon_threadsafe(changed.set))
        while True:
            answer = pending.poll()
            if answer is not None:
                return answer
            await changed.wait()
            changed.clear()

    async def _live(self, receive, send):
        while True:
            kind = (await receive())['type']
            if kind == 'lifespan.startup':
                await send({'type': 'lifespan.startup.complete'})
            elif kind == 'lifespan.shutdown':
                await send({'type': 'lifespan.shutdown.complete'})
                return


def target(scope):
    """Return the target of a request below the place where the application is mounted."""
    path, root = scope['path'], scope.get('root_path', '')
    path = path[len(root):] if path.startswith(root) else path
    query = scope.get('query_string', b'').decode('latin-1')
    path = quote(path or '/', SAFE)
    return f'{path}?{query}' if query else path


application = Application()
