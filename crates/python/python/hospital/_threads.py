"""Threads of the system, also where gevent or eventlet have put greenlets in the place of Python's.

Greenlets share one thread, so that a check which waits would not be waited for, and a round would hold up all requests.
"""

import _thread
import os
import socket
import sys
import threading


def _original(name):
    """What `_thread` had under this name, if that was replaced; else None."""
    gevent = sys.modules.get('gevent.monkey')
    if gevent and gevent.is_module_patched('_thread'):
        return gevent.get_original('_thread', name)
    eventlet = sys.modules.get('eventlet.patcher')
    if eventlet and eventlet.is_monkey_patched('thread'):
        return getattr(eventlet.original('_thread'), name)
    return None


def start(run, *arguments, name):
    """Call `run` on a new thread, for which the program does not wait when it ends."""
    start_new = _original('start_new_thread')
    if start_new:
        start_new(_alone, (run, arguments))
    else:
        threading.Thread(target=run, args=arguments, name=name, daemon=True).start()


def _alone(run, arguments):
    try:
        run(*arguments)
    finally:
        # gevent has made a loop for this thread, with descriptors, if something in it has waited.
        gevent = sys.modules.get('gevent._hub_local')
        hub = gevent and gevent.get_hub_if_exists()
        if hub:
            hub.destroy(destroy_loop=True)


def lock():
    """Return a lock of threads of the system."""
    return (_original('allocate_lock') or _thread.allocate_lock)()


class End:
    """Something that threads may wait for."""

    def __init__(self):
        self._lock = lock()
        self._lock.acquire()

    def come(self):
        """End the wait of all, once."""
        self._lock.release()

    def has_come(self):
        """Return whether it has come."""
        return not self._lock.locked()

    def wait(self, limit):
        """Wait for it so many seconds, and return whether it has come."""
        has_come = self._lock.acquire(timeout=limit)
        if has_come:
            self._lock.release()
        return has_come


def apart(run):
    """Return what `run` returns. Where greenlets share this thread, it runs on another, and they go on meanwhile."""
    start_new = _original('start_new_thread')
    if not start_new:
        return run()
    found = []
    # Whoever waits for a socket lets other greenlets run.
    ours, theirs = socket.socketpair()
    theirs = theirs.detach()

    def on_thread():
        try:
            found.append((run(), None))
        except BaseException as error:
            found.append((None, error))
        finally:
            os.close(theirs)

    start(on_thread, name='healthchecks')
    with ours:
        ours.recv(1)
    ((answer, error),) = found
    if error:
        raise error
    return answer
