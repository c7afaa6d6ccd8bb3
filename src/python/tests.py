"""Finds the healthchecks at a name, and runs one of them.

The zygote is given this file as text: it needs nothing but Python 3.9. Our package and django-health-check may be there or
not, so what is theirs is known by its attributes and names.
"""

import asyncio
import datetime
import importlib
import inspect
import os
import pkgutil
import sys
import threading
import time
import traceback
import types
import unittest

# As much of a context as a report keeps, with the message first and the end of the traceback.
LONGEST = 7000

# As many parts of a test as a report tells apart, and as much as all of them may say, or the description of one.
MOST_PARTS = 500
MOST_OF_PARTS = 4 * LONGEST
LONGEST_TITLE = 200

# More is no timeout, and not a number of Rust's: a century.
MOST_SECONDS = 100 * 366 * 86400

# How many calls a traceback shows: to write down a million takes longer than a check may.
DEEPEST = 100

# Whose lines in a traceback say nothing.
OURS = ("hospital/", __file__, "<frozen importlib", *(os.path.dirname(module.__file__) for module in (unittest, asyncio, importlib)))


class Refused(Exception):
    """A name that cannot be used, with the line that says why."""


class NotFound(Refused):
    """A name that is nothing in this Python."""


class NotImported(Refused):
    """A module that cannot be imported: maybe it can be, later."""


def is_healthcheck(thing):
    try:
        return thing.is_healthcheck is True
    except Exception:
        # Also a proxy that stands for nothing now, such as Flask's `request`.
        return False


class Found:
    """A healthcheck, and what is told of it."""

    # Why it could not be imported, if that is what it stands for.
    error = None

    def __init__(self, test, id, title, marked):
        self.test, self.id, self.title = test, id, clean(title)
        self.timeout = seconds(first(marked, "timeout"))
        self.tags = sorted(words(first(marked, "tags")))


def found_as(test, id, title, marked):
    """A healthcheck, or why it cannot be one: whoever wrote a timeout relies on it."""
    try:
        return Found(test, id, title, marked)
    except TypeError as error:
        return broken(id, Refused(f"{id}: {error}"), title)


def first(things, attribute):
    return next((value for value in (getattr(thing, attribute, None) for thing in things) if value is not None), None)


def seconds(timeout):
    """A timeout as a number, or None if there is none."""
    if timeout is None:
        return None
    number = timeout.total_seconds() if isinstance(timeout, datetime.timedelta) else timeout
    is_time = isinstance(number, (int, float)) and not isinstance(number, bool) and 0 < number < MOST_SECONDS
    if not is_time:
        raise TypeError(f"a timeout is a positive number of seconds, or a timedelta: not {short(timeout)}")
    return float(number)


def words(tags):
    """Tags as a list: a word is one."""
    if tags is None:
        return []
    tags = [tags] if isinstance(tags, str) else tags
    # What is read once only would be gone the next time.
    if not isinstance(tags, (frozenset, list, set, tuple)) or not all(isinstance(tag, str) and tag.strip() for tag in tags):
        raise TypeError(f"tags are a list of words: not {short(tags)}")
    return list(map(clean, tags))


def short(value):
    try:
        return clean(repr(value))[:LONGEST_TITLE]
    except Exception:
        return f"this {type(value).__name__}"


def clean(text):
    """Text of a file system may hold what is no text, and cannot be written in any encoding."""
    return text.encode(errors="replace").decode()


# --- finding ------------------------------------------------------------------------------------------


def find(name):
    """The healthchecks at a name: of a folder, package, module, class, or one that is a method or a function."""
    try:
        found = list(in_folder(name) if name.startswith(("./", "../", "/")) else named(name))
    except unittest.SkipTest as skipped:
        found = [broken(name, skipped)]
    by_id = {}
    for check in found:
        if any(is_same(check, other) for other in by_id.get(check.id, [])):
            # As where one module imports it from another.
            continue
        by_id.setdefault(check.id, []).append(check)
    if not by_id:
        raise Refused(f"{name!r} holds no healthcheck: mark classes, methods or functions with @healthcheck")
    for alike in by_id.values():
        # As load_tests() makes them of one class.
        for number, check in enumerate(alike[1:], 2):
            check.id = f"{check.id}_{number}"
    return [check for alike in by_id.values() for check in alike]


def is_same(check, other):
    """Whether these are one test that was found twice."""
    ours = lambda test: {name: value for name, value in vars(test).items() if name != "_callTestMethod"}
    thing = lambda test: vars(type(test)).get("_thing", type(test))
    return thing(check.test) == thing(other.test) and ours(check.test) == ours(other.test)


def named(name):
    if not all(name.split(".")):
        raise Refused(f"{name!r} is no name of a module: write it as shop.healthchecks, and a folder as ./checks")
    module, rest = import_longest(name.split("."))
    parent, thing = None, module
    for number, part in enumerate(rest):
        parent = thing
        try:
            thing = getattr(thing, part)
        except AttributeError:
            known = ".".join([module.__name__, *rest[:number]])
            raise NotFound(f"{known!r} has no {part!r}") from None
    if isinstance(thing, types.ModuleType):
        return in_package(thing)
    if isinstance(thing, type) and issubclass(thing, unittest.TestCase):
        return in_class(thing, ".".join([module.__name__, *rest]))
    if is_of_django(thing):
        return [of_django(thing)]
    if isinstance(parent, type) and issubclass(parent, unittest.TestCase):
        at = ".".join([module.__name__, *rest[:-1]])
        try:
            check = of_test(parent(rest[-1]), at)
        except BaseException as error:
            check = broken(name, Refused(f"{at} cannot be made: {told(error)}"))
        return [check] if check else []
    if isinstance(thing, type) and marks_nothing(thing):
        return [lost(thing, name)]
    if callable(thing):
        return [of_function(thing, parent.__name__, rest[-1])] if is_healthcheck(thing) else []
    raise Refused(f"{name!r} is neither a module, nor a class, nor a function, but {type(thing).__name__}")


def import_longest(parts):
    for end in range(len(parts), 0, -1):
        wanted = ".".join(parts[:end])
        try:
            return import_module(wanted), parts[end:]
        except ModuleNotFoundError as error:
            if error.name is None or not (wanted + ".").startswith(error.name + "."):
                raise
    raise NotFound(f"there is no module {parts[0]!r}")


def import_module(name):
    try:
        return importlib.import_module(name)
    except SystemExit as exit:
        raise NotImported(f"{name} calls sys.exit({exit.code!r}) when it is imported: guard that by if __name__ == '__main__'") from None


def in_package(module):
    """The healthchecks of a module, and of all modules in it."""
    yield from in_module(module)
    if hasattr(module, "load_tests"):
        # It has decided, as with unittest.
        return
    for info in pkgutil.iter_modules(getattr(module, "__path__", []), module.__name__ + "."):
        if not info.name.endswith(".__main__"):
            yield from in_submodule(info.name)


def in_submodule(name, file=None):
    """The same for a module that nobody named: one that cannot be imported is an error in the report."""
    try:
        module = import_module(name)
    except BaseException as error:
        yield broken(name, error)
        return
    if file and not os.path.samefile(module.__file__ or os.devnull, file):
        raise Refused(f"two modules are called {name!r}: {module.__file__} and {file}: rename one, or make packages of their folders")
    yield from in_package(module)


def in_folder(path):
    folder = os.path.realpath(path)
    if not os.path.isdir(folder):
        raise NotFound(f"there is no folder {path!r}")
    top = folder
    while os.path.isfile(os.path.join(top, "__init__.py")):
        top = os.path.dirname(top)
    if top not in sys.path:
        sys.path.insert(0, top)
    package = os.path.relpath(folder, top).replace(os.sep, ".")
    if package != ".":
        return in_submodule(package, os.path.join(folder, "__init__.py"))
    return in_files(folder)


def in_files(folder):
    for entry in sorted(os.listdir(folder)):
        path = os.path.join(folder, entry)
        name, extension = os.path.splitext(entry)
        package = os.path.join(path, "__init__.py")
        if os.path.isfile(package) and entry.isidentifier():
            yield from in_submodule(entry, package)
        elif extension == ".py" and name.isidentifier() and name not in ("setup", "conftest", "__main__"):
            yield from in_submodule(name, path)


def in_module(module):
    # Under which names it has classes.
    names = {value: name for name, value in vars(module).items() if isinstance(value, type)}
    for test in flat(Loader().loadTestsFromModule(module)):
        name = names.get(type(test))
        check = of_test(test, name and f"{module.__name__}.{name}")
        if check:
            yield check
    made = set(map(type, vars(module).values()))
    for name, value in list(vars(module).items()):
        if isinstance(value, type) and value.__module__ == module.__name__ and value not in made and marks_nothing(value):
            yield lost(value, f"{module.__name__}.{name}")
        elif not isinstance(value, (type, unittest.TestCase)) and callable(value) and is_healthcheck(value):
            yield of_function(value, module.__name__, name)
        elif is_of_django(value) and value.__module__ == module.__name__ and needs_nothing(value):
            yield of_django(value)


def marks_nothing(cls):
    """Whether a class, or a method of it, is marked, and neither it nor what is derived from it is a test that could be run."""
    if not any(map(is_healthcheck, [cls, *vars(cls).values()])) or is_of_django(cls):
        return False
    derived = [cls]
    for each in derived:
        if issubclass(each, unittest.TestCase):
            return False
        derived += type.__subclasses__(each)
    return True


def lost(cls, name):
    return broken(name, Refused(f"{name} is marked as a healthcheck, but is no unittest.TestCase: nothing of it has run"))


class Loader(unittest.TestLoader):
    """Makes no tests of a class that holds no healthcheck: it may want more for that than the name of a method."""

    def loadTestsFromTestCase(self, cls, **given):
        methods = [getattr(cls, name, None) for name in self.getTestCaseNames(cls)]
        if not any(map(is_healthcheck, [cls, *methods])):
            return self.suiteClass()
        try:
            return super().loadTestsFromTestCase(cls, **given)
        except BaseException as error:
            id = f"{cls.__module__}.{cls.__qualname__}"
            return self.suiteClass([broken(id, Refused(f"{id} cannot be made: {told(error)}")).test])

    def getTestCaseNames(self, cls):
        """Those of unittest, and those of methods that are marked whatever they are called."""
        names = super().getTestCaseNames(cls)
        marked = lambda name: name not in names and inspect.isfunction(getattr(cls, name, None)) and is_healthcheck(getattr(cls, name))
        return [*names, *filter(marked, dir(cls))]


def in_class(cls, at=None):
    tests = flat(Loader().loadTestsFromTestCase(cls))
    return [check for check in (of_test(test, at) for test in tests) if check]


def flat(suite):
    if not isinstance(suite, unittest.TestSuite):
        return [suite]
    return [test for part in suite for test in flat(part)]


def of_test(test, at=None):
    """A test of unittest, if it is marked: itself, its class, or its method. `at`: where its class was found."""
    method = getattr(test, getattr(test, "_testMethodName", ""), None)
    failed = getattr(test, "_exception", None)
    if failed is not None:
        # What unittest makes of a load_tests() that fails, named by its module, or we of a class.
        return broken(test.id() if hasattr(test, "_thing") else test._testMethodName, failed)
    if not is_marked(test):
        return None
    cls, id = type(test), test.id()
    home = f"{cls.__module__}.{cls.__qualname__}"
    if at and id.startswith(home + ".") and not is_found(cls):
        # A factory makes many of one name.
        id = at + id[len(home) :]
    return found_as(heeded(test), id, summary(test), [method, test])


def is_marked(test):
    """Whether a test of unittest is a healthcheck: itself, its class, or its method."""
    return is_healthcheck(test) or is_healthcheck(getattr(test, getattr(test, "_testMethodName", ""), None))


def is_found(cls):
    """Whether a class is where its name says."""
    thing = sys.modules.get(cls.__module__)
    for part in cls.__qualname__.split("."):
        thing = getattr(thing, part, None)
    return thing is cls


def summary(test):
    try:
        return str(test.shortDescription() or test)
    except Exception:
        return test.id()


def heeded(test):
    """The same test, where what its method returns counts: unittest passes one of which nothing has run."""
    call = getattr(test, "_callTestMethod", None)
    if call is None or "_callTestMethod" in vars(test):
        return test
    awaits = type(test)._callTestMethod is not unittest.TestCase._callTestMethod

    def called(method):
        if inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method):
            raise TypeError(f"{test.id()} is a generator, so nothing of it has run")
        if awaits:
            return call(method)
        outcome = method()
        if inspect.iscoroutine(outcome):
            outcome.close()
            raise TypeError(f"{test.id()} is async, so nothing of it has run: its class has to be a unittest.IsolatedAsyncioTestCase")
        heed(outcome, test.id())

    test._callTestMethod = called
    return test


def heed(outcome, id):
    if inspect.isgenerator(outcome) or inspect.isasyncgen(outcome):
        raise TypeError(f"{id} is a generator, so nothing of it has run")
    if outcome is False:
        raise AssertionError("it returned False")


def heed_call(function, id):
    """Calls a function that is a healthcheck, and heeds what it returns."""
    outcome = function()
    if inspect.isawaitable(outcome):
        outcome = asyncio.run(finish(outcome))
    heed(outcome, id)


def of_function(function, module, name):
    """A function that was found in a module by this name, as a test with the fixtures of its own module."""
    # What is callable may have no name of its own, and its module is that of its class.
    own = function.__module__ if inspect.isfunction(function) else module
    # A decorator may have taken the place of what it decorates, under its own name.
    at_home = getattr(function, "__qualname__", name)
    is_at_home = getattr(sys.modules.get(own), at_home, None) is function
    id = f"{own}.{at_home}" if is_at_home else f"{module}.{name}"

    def run(self):
        heed_call(function, id)

    return found_as(test_of(id, own, run, function), id, inspect.isfunction(function) and title(function) or id, [function])


def broken(id, error, title=None):
    def run(self):
        raise error

    # A module skips itself where it is not meant for this machine.
    if not isinstance(error, (Refused, unittest.SkipTest)):
        error = NotImported(f"{id} cannot be imported: {told(error)}")
    found = Found(test_of(id, __name__, run, id), id, title or f"{id} can be imported", [])
    found.error = found.test._exception = error
    return found


def test_of(id, module, run, thing):
    """`thing`: what it is a test of, by which it is known if it is found again."""
    members = {"__module__": module, "runTest": run, "id": lambda self: id, "__str__": lambda self: id, "_thing": thing}
    return type("Check", (unittest.TestCase,), members)()


async def finish(awaitable):
    return await awaitable


def title(thing):
    return next(iter((inspect.getdoc(thing) or "").splitlines()), "").strip()


# --- django-health-check -------------------------------------------------------------------------------


def is_of_django(thing):
    bases = (("health_check.base", "HealthCheck"), ("health_check.backends", "BaseHealthCheckBackend"))
    is_base = lambda cls: (cls.__module__, cls.__name__) in bases
    return isinstance(thing, type) and any(map(is_base, thing.__mro__[1:])) and not inspect.isabstract(thing)


def needs_nothing(cls):
    """Whether one can be made without arguments."""
    try:
        parameters = inspect.signature(cls).parameters.values()
    except (TypeError, ValueError):
        return False
    varied = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return all(p.default is not p.empty or p.kind in varied for p in parameters)


def of_django(cls):
    id = f"{cls.__module__}.{cls.__qualname__}"

    def run(self):
        check = cls()
        if hasattr(check, "run_check"):
            check.run_check()
            for error in check.errors:
                raise error
        else:
            outcome = check.run()
            if inspect.isawaitable(outcome):
                asyncio.run(finish(outcome))

    doc = title(cls)
    # The documentation that dataclasses write is the signature.
    doc = "" if doc.startswith(cls.__name__ + "(") else doc
    return found_as(test_of(id, cls.__module__, run, cls), id, doc or id, [cls])


def status_of(error):
    """What an exception means that is not a failure of unittest."""
    names = {cls.__name__ for cls in type(error).__mro__ if cls.__module__ == "health_check.exceptions"}
    if "ServiceWarning" in names:
        return "warn"
    return "fail" if names else "error"


# --- running -------------------------------------------------------------------------------------------


class Reported:
    """One thing that a test reported, of a part of it or of the whole."""

    def __init__(self, status, message, trace, part):
        self.status, self.message, self.trace, self.part = status, message, trace, part

    def context(self, longest):
        message = self.message[:longest]
        room = max(min(longest, LONGEST) - len(message), 0)
        trace = self.trace[-room:] if room else ""
        return "\n\n".join(filter(None, (message, trace.rstrip()))) or None


def described(subtest):
    return subtest._subDescription()[:LONGEST_TITLE]


class Result(unittest.TestResult):
    """What one test has come to: a status, a message and a traceback for each thing that it reported."""

    WORST = ("error", "fail", "unexpected_success", "warn")
    BEST = ("pass", "expected_failure", "skip")

    def __init__(self):
        super().__init__()
        self.reported = []

    def report(self, status, message="", trace="", part=""):
        self.reported.append(Reported(status, *map(clean, (message, trace, part))))

    def addSuccess(self, test):
        self.report("pass")

    def addError(self, test, err):
        self.report(status_of(err[1]), self.fixture(test) + told(err[1]), trace(err))

    def addFailure(self, test, err):
        self.report("fail", told(err[1]), trace(err))

    def addSkip(self, test, reason):
        # To other runners of tests, a warning is a skip.
        is_warning = getattr(reason, "is_healthcheck_warning", None) is True
        part = described(test) if isinstance(test, unittest.case._SubTest) else ""
        self.report("warn" if is_warning else "skip", str(reason), part=part)

    def addExpectedFailure(self, test, err):
        self.report("expected_failure", told(err[1]))

    def addUnexpectedSuccess(self, test):
        self.report("unexpected_success", "it passed, though it was expected to fail")

    def addSubTest(self, test, subtest, err):
        if err is None:
            self.report("pass", part=described(subtest))
            return
        is_failure = isinstance(err[1], test.failureException)
        self.report("fail" if is_failure else status_of(err[1]), told(err[1]), trace(err), described(subtest))

    @staticmethod
    def fixture(test):
        """Where it is not the test itself: `setUpClass (shop.Orders): `."""
        is_test = isinstance(test, unittest.TestCase)
        return "" if is_test else f"{test}: "

    def sum(self):
        parts = [each.status for each in self.reported if each.part]
        # With parts, that the test itself passes says no more than that it has ended.
        own = [each.status for each in self.reported if not each.part and not (parts and each.status == "pass")]
        statuses = own + [status for status in parts if not own or status in self.WORST]
        status = next((status for status in self.WORST + self.BEST if status in statuses), None)
        if status is None:
            return {"status": "error", "message": "the test ended without a result"}
        is_told = (lambda each: each != "pass") if status in self.WORST else (lambda each: each == status)
        reported = [each for each in self.reported if is_told(each.status)]
        message = "\n".join(filter(None, (f"{each.part}: {each.message}" if each.part else each.message for each in reported)))
        room = max(LONGEST - len(message), 0) if status in ("error", "fail") else 0
        trace = "\n".join(each.trace for each in reported if each.trace)
        found = {"status": status, "message": message[:LONGEST], "trace": trace[-room:] if room else ""}
        return {**found, "parts": self.parts()}

    def parts(self):
        """What each subtest came to, and all that belongs to none."""
        if not any(each.part for each in self.reported):
            return []
        # That the test itself passes is that of its parts.
        parts = [each for each in self.reported if each.part or each.status != "pass"]
        parts, more = parts[:MOST_PARTS], parts[MOST_PARTS:]
        if more:
            worst = next(status for status in self.WORST + self.BEST if status in [each.status for each in more])
            parts.append(Reported(worst, "", "", f"(and {len(more)} more)"))
        share = MOST_OF_PARTS // max(sum(bool(each.message or each.trace) for each in parts), 1)
        return [{"title": each.part, "status": each.status, "context": each.context(share)} for each in parts]


def told(error):
    """An exception in the words of a person: of a failed assertion its message alone."""
    try:
        text = str(error).strip()
    except Exception:
        text = "its message cannot be made"
    if isinstance(error, (AssertionError, Refused)) or status_of(error) != "error":
        return text or type(error).__name__
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def place(error):
    """Where an exception came from: the last line that is not of Python itself, nor ours."""
    found, tb = "", error.__traceback__
    while tb:
        file = tb.tb_frame.f_code.co_filename
        if not file.startswith(("<", *OURS)):
            found = f" ({file}:{tb.tb_lineno})"
        tb = tb.tb_next
    return found


def trace(err):
    kind, error, tb = err
    if isinstance(error, Refused):
        return ""
    lines = traceback.TracebackException(kind, error, tb, limit=-DEEPEST)
    link = lines
    while link:
        shown = [frame for frame in link.stack if not frame.filename.startswith(OURS)]
        link.stack = traceback.StackSummary.from_list(shown)
        link = link.__cause__ or link.__context__
    text, last = "".join(lines.format()), "".join(lines.format_exception_only())
    # The message stands above it.
    is_told = last.strip().endswith(told(error)) and text.endswith(last)
    return text[: -len(last)] if is_told else text


def run(test):
    """Runs one test with the fixtures of its class and module."""
    result = Result()
    try:
        unittest.TestSuite([test]).run(result)
    except BaseException as error:
        result.addError(test, (type(error), error, error.__traceback__))
    left = left_running()
    if left and not any(each.status in ("error", "fail") for each in result.reported):
        result.report("error", f"it leaves {left} running: end that in the check, or in addCleanup")
    return result.sum()


def left_running():
    """What Python would wait for at its end, or would leave behind."""
    # The threads of executors are ended by Python.
    executors = getattr(sys.modules.get("concurrent.futures.thread"), "_threads_queues", {})
    # With eventlet, the current one is not the main one.
    ours = (threading.main_thread(), threading.current_thread())
    threads = [thread for thread in threading.enumerate() if thread not in ours]
    for thread in threads:
        if not thread.daemon and thread not in executors:
            thread.join(0.1)
            if thread.is_alive():
                return f"the thread {thread.name!r}"
    helper = getattr(sys.modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None)
    for pid in children():
        if pid != getattr(helper, "_pid", None) and stays(pid):
            return f"the process {pid} ({command(pid)})"
    return None


def stays(pid):
    """Whether a process is not about to end."""
    until = time.monotonic() + 0.1
    while is_alive(pid):
        if time.monotonic() > until:
            return True
        time.sleep(0.005)
    return False


def children():
    """The pids of the processes that this one has started."""
    found = []
    try:
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/children") as file:
                found += map(int, file.read().split())
    except OSError:
        # A kernel that does not tell, or a thread that has just ended.
        pass
    return found


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def command(pid):
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except OSError:
        return "gone"
