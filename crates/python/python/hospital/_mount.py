"""The endpoint in an application's own process: what ``hospital.wsgi`` and ``hospital.asgi`` answer with."""

import os
import threading

from hospital import _native


class Mount:
    """The endpoint for these names, or those in HEALTHCHECKS, with the settings of ``hospital serve`` as keywords.

    It has threads, so each process makes its own when its first request arrives: a server may fork until then.
    """

    def __init__(self, names=None, **settings):
        self.names = names
        self.settings = settings
        self._made = None
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self):
        self._made = None
        self._lock = threading.Lock()

    def endpoint(self):
        """Return the endpoint of this process."""
        made = self._made
        if made is None:
            with self._lock:
                if self._made is None:
                    self._made = self._make()
                made = self._made
        return made

    def _make(self):
        arguments = [f'--{name.replace("_", "-")}={value}' for name, value in self.settings.items()]
        names = os.environ.get('HEALTHCHECKS', '').split() if self.names is None else list(self.names)
        return _native.Endpoint([*arguments, '--', *names], [])
