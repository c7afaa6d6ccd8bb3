"""The endpoint, under whatever prefix it is included.

It collects what the setting ``HEALTHCHECKS`` of the project names, a string or a list, or else the variable of that name.
"""

from django.conf import settings
from django.urls import re_path

from hospital._mount import Application
from hospital.django import make_wsgi_view

app_name = 'healthchecks'
application = Application(getattr(settings, 'HEALTHCHECKS', None))
urlpatterns = [re_path(r'^(?P<path>.*)$', make_wsgi_view(application), name='endpoint')]
