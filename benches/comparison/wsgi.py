"""The application of the Python project hospital, with the one change that makes it work on Python 3."""

from hospital.wsgi import HealthCheckApp

origin = HealthCheckApp(discover=["hospital.healthchecks.predictable"])


def application(environ, start_response):
    """The answer of the application, as bytes instead of str."""
    return [part.encode() for part in origin(environ, start_response)]
