"""The endpoint as a WSGI application."""

from hospital._wsgi import application

__all__ = ['application']
