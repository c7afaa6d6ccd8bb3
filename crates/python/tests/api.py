"""Prints the API of the package `hospital` that is installed: each public name, with its signature.

With hospital 0.9 installed it made `api-0.9.txt`: python api.py >api-0.9.txt
"""
import importlib
import inspect

MODULES = [
    'hospital',
    'hospital.api',
    'hospital.assertions.http',
    'hospital.assertions.networking',
    'hospital.assertions.packaging',
    'hospital.cli',
    'hospital.core',
    'hospital.healthchecks.packaging',
    'hospital.healthchecks.predictable',
    'hospital.loading',
    'hospital.pytest_plugin',
    'hospital.utils.networking',
    'hospital.utils.packaging',
    'hospital.wsgi',
]


def api():
    """Each public name, with what it is: a signature, a base class, or the type of a value."""
    found = {}
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name in sorted({*vars(module), *(['application'] if module_name == 'hospital.wsgi' else [])}):
            value = getattr(module, name)
            if name.startswith('_') and name != '__version__' or inspect.ismodule(value):
                continue
            home = getattr(value, '__module__', None) if callable(value) else None
            if home and not home.startswith('hospital'):
                continue
            found[f'{module_name}.{name}'] = described(value)
            if inspect.isclass(value):
                for member in sorted(vars(value)):
                    if not member.startswith('_') or member in ('__init__', '__call__'):
                        found[f'{module_name}.{name}.{member}'] = described(getattr(value, member))
    return found


def described(value):
    if inspect.isclass(value):
        return 'class of ' + ', '.join(base.__name__ for base in value.__mro__[1:-1])
    if inspect.isroutine(value):
        parameters = inspect.signature(value).parameters.values()
        return '(' + ', '.join(map(parameter, parameters)) + ')'
    if isinstance(value, str) and len(value) < 40:
        return repr(value)
    return type(value).__name__


def parameter(it):
    mark = {it.VAR_POSITIONAL: '*', it.VAR_KEYWORD: '**', it.KEYWORD_ONLY: '*, '}.get(it.kind, '')
    if it.default is it.empty:
        return mark + it.name
    default = it.default.__name__ if inspect.isclass(it.default) else repr(it.default)
    if not isinstance(it.default, (str, int, float, list, tuple, type, type(None))):
        default = '...'
    return f'{mark}{it.name}={default}'


if __name__ == '__main__':
    for name, what in api().items():
        print(name, what)
