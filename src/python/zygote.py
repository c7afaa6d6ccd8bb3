"""The zygote: it imports the modules of healthchecks once, and forks for each run.

It serves packets on one socket until the last process that can send any is gone. Each comes with a socket for its answer:

    {"collect": name}       -> {"tests": [...]} ..., {"done": true, "notes": [...]}, or {"refused": why}
    {"import": name}        -> {"done": true} when that was tried
    {"find": name}          -> {"done": true} if there is such a module, or {"refused": why}
    {"run": id, "mark": n}  -> {"pid": n}, {"parts": [...]} ..., {"status": ..., "message": ..., "trace": ...} from the fork,
                               {"ended": how} when that has died

A run belongs to who asked: once that has closed its socket, whatever is left of the run is killed, and then reaped.

This file is one role, however long: the life of one interpreter, which is given it as text.
"""

import errno
import faulthandler
import fcntl
import gc
import importlib.util
import json
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
import types
import warnings

# Ended because a module has closed our socket.
CLOSED = 86
# RLIMIT_RTTIME, which the module resource does not name: the marks of our process trees.
MARKS = 15
# eventlet takes it out of its module.
Poll = select.poll
LARGEST = 48 * 1024
# How many seconds a reader may take for what does not fit into its socket.
READER = 30
# What is more is no limit, and not all of it a number of the kernel.
MOST_MEMORY = 1 << 62
# The longest wait, in milliseconds.
LONG = 3600 * 1000
# How many seconds importing a name may take where nobody waits for it.
IMPORT = 30
# How soon it is tried again to import what could not be, when that is asked for, first and at most.
AGAIN, LATEST = 1, 30
# Of how many it is told why they cannot: all that fits into a pipe.
MOST_TOLD = 20
# The mark of a fork that tries that: no run has it.
TRIAL = 1 << 62
# Who serves is ended by the end of its socket, whatever signals reach its group.
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def load(source, file, name):
    """A module made of text."""
    module = types.ModuleType(name)
    module.__file__ = file
    # Where it is asked for by its name, as by what unittest finds the fixtures of a module with.
    sys.modules[name] = module
    exec(compile(source, file, "exec"), module.__dict__)
    return module


class Run:
    def __init__(self, pid, reply, mark):
        self.pid, self.reply, self.mark = pid, reply, mark
        self.ended = False
        try:
            self.watch = os.pidfd_open(pid)
        except (AttributeError, OSError):
            # Linux before 5.3, or a filter of system calls: it is looked at again and again.
            self.watch = None


class Trial:
    """A fork that tries to import something, and tells by a pipe what has become of that."""

    def __init__(self, pid, told):
        self.pid, self.told = pid, told
        self.until = time.monotonic() + IMPORT

    def has_ended(self):
        return is_polled(self.told, select.POLLIN)

    def end(self):
        data = os.read(self.told, 1 << 16) if self.has_ended() else b""
        for end in (os.killpg, os.kill):
            try:
                end(self.pid, signal.SIGKILL)
            except OSError:
                pass
        os.waitpid(self.pid, 0)
        return data


class Zygote:
    def __init__(self, requests, tests, names):
        self.requests, self.tests = requests, tests
        # What another zygote has imported, whose place this one has taken.
        self.names = names
        self.pid = os.getpid()
        self.identity = os.fstat(requests.fileno()).st_ino
        self.found = {}
        # Why names of those could not be imported.
        self.refused = {}
        # What was asked for and is not here, whether it can be imported by now, and why it could not when that was tried last.
        self.wanted = set()
        self.trial = None
        self.whys = {}
        self.wait, self.again = AGAIN, 0
        self.noted = set()
        # Notes on names that nobody has collected yet.
        self.notes = {}
        self.runs = {}
        # The same by what becomes readable when one has died.
        self.watches = {}
        self.settled = False
        self.is_set_up = False
        self.set_up_error = None
        self.began = time.monotonic()
        self.poll = Poll()
        self.poll.register(requests.fileno(), select.POLLIN)

    def serve(self):
        while True:
            blind = any(run.watch is None and not run.ended for run in self.runs.values())
            limit = 10 if blind else None
            if self.trial:
                limit = min(limit or LONG, max(self.trial.until - time.monotonic(), 0) * 1000)
            for fd, event in self.poll.poll(limit):
                if fd == self.requests.fileno():
                    if not self.take():
                        return
                elif fd in self.runs and event & (select.POLLHUP | select.POLLERR):
                    self.finish(fd)
                elif fd in self.watches:
                    self.look(self.watches[fd])
            for run in list(self.runs.values()) if blind else ():
                self.look(run)
            if self.trial and (self.trial.has_ended() or self.trial.until < time.monotonic()):
                self.end_trial()

    def take(self):
        """Takes one request; False at the end."""
        data, fds, _, _ = socket.recv_fds(self.requests, 1 << 16, 1, socket.MSG_CMSG_CLOEXEC)
        if not data:
            return False
        reply = socket.socket(fileno=out_of_reach(fds[0]))
        request = json.loads(data)
        if "collect" in request:
            self.collect(request["collect"], reply)
            reply.close()
        elif "import" in request:
            self.prepare(request["import"], reply)
            reply.close()
        elif "find" in request:
            found = find_spec(request["find"])
            answer(reply, {"done": True} if found else {"refused": "there is no such module", "missing": True})
            reply.close()
        else:
            self.run(request, reply)
        return True

    # --- importing ---------------------------------------------------------------------------------

    def collect(self, name, reply):
        try:
            found, notes = self.imported(name)
        except self.tests.Refused as error:
            answer(reply, {"refused": str(error), "missing": isinstance(error, self.tests.NotFound)})
            return
        tests = [{"id": c.id, "title": c.title, "timeout": c.timeout, "tags": c.tags} for c in found]
        # Whoever asks, waits for it.
        reply.settimeout(READER)
        for packet in in_packets(tests):
            answer(reply, {"tests": packet})
        answer(reply, {"done": True, "notes": self.notes.pop(name, []) + notes})

    def prepare(self, name, reply):
        """Imports what will be collected soon. Whoever collects it is told why that cannot be."""
        try:
            _, self.notes[name] = self.imported(name)
        except self.tests.Refused:
            pass
        answer(reply, {"done": True})

    def imported(self, name):
        """Imports what a name needs. Whatever that does to this process is undone, or told."""
        where = os.getcwd()
        before = set(self.tests.children())
        self.settled = False
        try:
            self.set_up()
            found = self.tests.find(name)
        except self.tests.Refused:
            raise
        except BaseException as error:
            raise self.tests.Refused(f"importing {name!r} failed: {self.tests.told(error)}{self.tests.place(error)}") from None
        finally:
            if os.getpid() != self.pid:
                # A module has forked, and this is the fork.
                os._exit(0)
            self.keep()
        notes = []
        if os.getcwd() != where:
            notes.append(f"{name} changes the directory to {os.getcwd()} when it is imported: that was undone")
            os.chdir(where)
        started = [pid for pid in self.tests.children() if pid not in before and self.tests.stays(pid)]
        notes += [f"{name} starts a process when it is imported, which stays: {self.tests.command(pid)}, pid {pid}" for pid in started]
        notes += self.threads(name)
        for check in found:
            self.found.setdefault(check.id, check)
        return found, notes

    def import_anew(self):
        """Imports what another has imported before, and nobody waits for that. An import that hangs ends this process."""
        for name in self.names:
            faulthandler.dump_traceback_later(IMPORT, exit=True, file=2)
            try:
                # The notes on it were told when it was imported first.
                found, _ = self.imported(name)
                self.found.update({check.id: check for check in found})
                self.refused.pop(name, None)
            except self.tests.Refused as error:
                if self.refused.get(name) != str(error):
                    print(f"hospital: {error}", file=sys.stderr)
                self.refused[name] = str(error)
            finally:
                faulthandler.cancel_dump_traceback_later()

    def why_missing(self, id):
        """Why there is no check of this name."""
        if id in self.whys:
            return self.whys[id]
        broken = [check.error for name, check in self.found.items() if check.error and id.startswith(f"{name}.")]
        whys = dict.fromkeys(map(str, broken or self.refused.values()))
        return f"Python was started again, and {'; '.join(whys)}" if whys else "there is no such check in the code any more: reload"

    def try_again(self, id):
        """In a fork, which may hang, tries whether what cannot be imported can be by now."""
        self.wanted.add(id)
        if self.names and self.set_up_error and time.monotonic() > self.began + LATEST + 1:
            # Django does that once in a process: in another, then.
            os._exit(0)
        if not self.names or self.trial or time.monotonic() < self.again:
            return
        told, tell = os.pipe()
        try:
            pid = os.fork()
        except OSError:
            os.close(told)
            os.close(tell)
            return
        if pid:
            os.close(tell)
            self.trial = Trial(pid, told)
            self.poll.register(told, select.POLLIN)
            return
        try:
            os.setpgid(0, 0)
            self.pid, self.whys = os.getpid(), {}
            limit(MARKS, TRIAL)
            tell = out_of_reach(tell)
            self.import_anew()
            missing = sorted(self.wanted - self.found.keys())[:MOST_TOLD]
            os.write(tell, json.dumps({id: self.why_missing(id)[:1000] for id in missing}).encode())
        finally:
            os._exit(0)

    def end_trial(self):
        trial, self.trial = self.trial, None
        told = trial.end()
        self.poll.unregister(trial.told)
        os.close(trial.told)
        self.end_orphans()
        if told:
            self.whys = json.loads(told)
        if told and not self.whys:
            self.import_anew()
        if self.wanted - self.found.keys():
            self.again, self.wait = time.monotonic() + self.wait, min(self.wait * 2, LATEST)
        else:
            self.wanted.clear()
            self.again, self.wait = 0, AGAIN

    def set_up(self):
        """Django has to be told of its settings before its models are imported."""
        settings = os.environ.get("DJANGO_SETTINGS_MODULE")
        if self.set_up_error:
            raise self.set_up_error
        if self.is_set_up or not settings:
            return
        self.is_set_up = True
        try:
            import django
        except ModuleNotFoundError:
            return
        try:
            django.setup()
        except BaseException as error:
            why = f"{self.tests.told(error)}{self.tests.place(error)}"
            why = f"django.setup() with DJANGO_SETTINGS_MODULE={settings} failed: {why}"
            self.set_up_error = self.tests.Refused(why)
            raise self.set_up_error from None

    def threads(self, name):
        """A fork takes along no thread but the one that forks."""
        count = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else threading.active_count()
        others = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
        if count < 2 or (count, *others) in self.noted:
            return []
        self.noted.add((count, *others))
        named = ", ".join(others) if others else "none of Python's own: of a library"
        return [
            f"after importing {name}, Python has {count - 1} other thread{'s' * (count > 2)} ({named}), and a check has none of them: "
            "what waits for one times out, so start threads in the check, or where it is first used"
        ]

    def keep(self):
        """What modules may not take from us: our signals, our standard output, our socket."""
        for number in IGNORED:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        try:
            intact = os.fstat(self.requests.fileno()).st_ino == self.identity
        except OSError:
            intact = False
        if not intact:
            os._exit(CLOSED)

    # --- running -----------------------------------------------------------------------------------

    def settle(self):
        """What is imported is not looked at by the collector in the forks: each page stays shared."""
        if self.settled:
            return
        self.settled = True
        database = sys.modules.get("django.db")
        if database:
            # One connection cannot be used by several processes.
            database.connections.close_all()
        gc.collect()
        gc.freeze()

    def run(self, request, reply):
        if is_polled(reply.fileno(), 0):
            # Who asked has given up.
            reply.close()
            return
        check = self.found.get(request["run"])
        if check is None:
            answer(reply, {"status": "error", "message": self.why_missing(request["run"])})
            reply.close()
            self.try_again(request["run"])
            return
        self.settle()
        for stream in (sys.stdout, sys.stderr):
            flush(stream)
        try:
            with warnings.catch_warnings():
                # Of threads, which we have told ourselves.
                warnings.simplefilter("ignore")
                pid = os.fork()
        except OSError as error:
            answer(reply, {"status": "error", "message": f"Python cannot be forked for it: {error.strerror}"})
            reply.close()
            return
        if pid == 0:
            self.become(check, request, reply)
        run = Run(pid, reply, request["mark"])
        self.runs[reply.fileno()] = run
        self.poll.register(reply.fileno(), 0)
        if run.watch is not None:
            self.watches[run.watch] = run
            self.poll.register(run.watch, select.POLLIN)

    def become(self, check, request, reply):
        """In the fork: runs the check, tells what it found, and ends."""
        try:
            os.setpgid(0, 0)
            if PRCTL:
                # What a check leaves running becomes a child of its process, not one of ours.
                PRCTL(ADOPT_ORPHANS, 1, 0, 0, 0)
            pid = os.getpid()
            answer(reply, {"pid": pid})
            self.requests.close()
            for run in self.runs.values():
                run.reply.close()
                if run.watch is not None:
                    os.close(run.watch)
            for number in IGNORED:
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.environ[request["variable"]] = request["marker"]
            limit(MARKS, request["mark"])
            if request.get("memory"):
                limit(resource.RLIMIT_AS, min(used() + request["memory"], MOST_MEMORY))
            found = self.tests.run(check.test)
            if os.getpid() != pid:
                # The check has forked, and this is the fork: it has nothing to say.
                os._exit(0)
            for stream in (sys.stdout, sys.stderr):
                flush(stream)
            reply.settimeout(READER)
            for packet in in_packets(found.pop("parts", [])):
                answer(reply, {"parts": packet})
            answer(reply, found)
        except BaseException as error:
            answer(reply, {"status": "error", "message": self.tests.told(error)})
        finally:
            os._exit(0)

    def look(self, run):
        """Tells of a run that has died, how."""
        died = None if run.ended else os.waitid(os.P_PID, run.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if died is None:
            return
        run.ended = True
        self.unwatch(run)
        answer(run.reply, {"ended": how(died), "pid": run.pid})

    def unwatch(self, run):
        if run.watch is not None:
            del self.watches[run.watch]
            self.poll.unregister(run.watch)
            os.close(run.watch)
            run.watch = None

    def finish(self, fd):
        """Who asked for a run has closed its socket: nothing may be left of it."""
        run = self.runs.pop(fd)
        self.poll.unregister(fd)
        run.reply.close()
        for end in (os.killpg, os.kill):
            try:
                end(run.pid, signal.SIGKILL)
            except OSError:
                pass
        self.unwatch(run)
        os.waitpid(run.pid, 0)
        self.end_orphans()

    def end_orphans(self):
        """What a run has left came to us when its parents died, as we adopt orphans."""
        known = {run.pid for run in self.runs.values()}
        marks = {run.mark for run in self.runs.values()}
        if self.trial:
            known.add(self.trial.pid)
            marks.add(TRIAL)
        for _ in range(1000):
            orphans = [pid for pid in self.tests.children() if pid not in known and is_orphan(pid, marks)]
            if not orphans:
                return
            for pid in orphans:
                try:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                except OSError:
                    # Of another user: it is not ours to end.
                    known.add(pid)

    def end(self):
        if self.trial:
            self.trial.end()
        for fd in list(self.runs):
            self.finish(fd)
        # What modules have started when they were imported: the next zygote has its own.
        for pid in self.tests.children():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                # It belongs to another user, or is gone.
                pass


def is_orphan(pid, marks):
    """Whether a child of ours is left of a run that is over. What modules have started has no mark."""
    try:
        mark = resource.prlimit(pid, MARKS)[0]
    except OSError:
        return False
    return mark >= 1 << 62 and mark not in marks and mark != OWN_MARK


def system_calls():
    """prctl(2), where Python can call it."""
    try:
        import ctypes

        return ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return None


PRCTL, ADOPT_ORPHANS = system_calls(), 36
OWN_MARK = resource.getrlimit(MARKS)[0]


def limit(kind, soft):
    _, hard = resource.getrlimit(kind)
    try:
        resource.setrlimit(kind, (soft, hard))
    except (OSError, ValueError):
        # A stricter one is in force.
        pass


def used():
    """How much address space this process has."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def how(died):
    if died.si_code == os.CLD_EXITED:
        return {"exit": died.si_status}
    try:
        name = signal.Signals(died.si_status).name
    except ValueError:
        name = f"signal {died.si_status}"
    return {"signal": name}


def flush(stream):
    try:
        stream.flush()
    except (AttributeError, OSError, ValueError):
        # Closed, replaced, or its reader is gone.
        pass


def answer(reply, message):
    try:
        # Text of a file system may hold what is no text, and would be no JSON.
        reply.send(json.dumps(message, ensure_ascii=False).encode(errors="replace"))
    except OSError as error:
        if error.errno == errno.EBADF:
            os._exit(CLOSED)
        # Nobody listens any more.


def in_packets(things):
    """The same in lists of which each fits into a packet."""
    packet, size = [], 0
    for thing in things:
        size += len(json.dumps(thing))
        if packet and size > LARGEST:
            yield packet
            packet, size = [], len(json.dumps(thing))
        packet.append(thing)
    if packet:
        yield packet


def is_polled(fd, events):
    poll = Poll()
    poll.register(fd, events)
    return bool(poll.poll(0))


def out_of_reach(fd):
    """The same descriptor under a number that nobody closes by chance."""
    for number in (1000, 400, 100, 10):
        try:
            moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, number)
        except OSError:
            # The limit on descriptors is lower.
            continue
        os.close(fd)
        return moved
    return fd


def keep_alive():
    """Refuses signals to this process and to hospital: a check that stops or kills its parent would end those of all others."""
    pids = {os.getpid(), os.getppid()}
    groups = {os.getpgid(pid) for pid in pids}

    def heed(event, arguments):
        if event not in ("os.kill", "os.killpg") or not arguments[1]:
            return
        target = -arguments[0] if event == "os.killpg" else arguments[0]
        # In a group of ours, a check is not: it has its own.
        if target in pids or -target in groups or target == -1:
            raise RuntimeError(f"it sends signal {arguments[1]} to the interpreter of all checks, or to hospital: that was refused")

    sys.addaudithook(heed)


def main(setup):
    requests = socket.socket(fileno=out_of_reach(3))
    # Standard output may be a report.
    os.dup2(2, 1)
    try:
        with open("/proc/self/comm", "w") as file:
            file.write(setup["name"])
    except OSError:
        # A name is only for people.
        pass
    if getattr(sys.flags, "safe_path", False):
        # What is there takes the place of nothing that is installed.
        sys.path.append(os.getcwd())
    else:
        sys.path[0:1] = [os.getcwd()]
    sys.argv = ["hospital"]
    load_package(setup)
    tests = load(setup["tests"], "hospital/tests.py", "hospital_tests")
    zygote = Zygote(requests, tests, setup["names"])
    zygote.keep()
    keep_alive()
    zygote.import_anew()
    zygote.serve()
    zygote.end()
    os._exit(0)


def find_spec(name):
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        # One of the packages that it would be in is not there.
        return None


def load_package(setup):
    """What checks import of our package, where that is not installed."""
    if find_spec("hospital") is None:
        load(setup["package"], "hospital/package.py", "hospital")


main(SETUP)  # noqa: F821
