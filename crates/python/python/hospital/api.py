"""What can be imported from `hospital` itself."""
from hospital.assertions.http import assert_http_response
from hospital.assertions.networking import assert_ping
from hospital.assertions.packaging import assert_supported_python_version
from hospital.core import HealthCheck, Warn, healthcheck, is_healthcheck, warn
from hospital.healthchecks.packaging import DistributionHealthCheck
from hospital.healthchecks.predictable import ForeverPassingHealthCheck

__all__ = [
    'DistributionHealthCheck',
    'ForeverPassingHealthCheck',
    'HealthCheck',
    'Warn',
    'assert_http_response',
    'assert_ping',
    'assert_supported_python_version',
    'healthcheck',
    'is_healthcheck',
    'warn',
]
