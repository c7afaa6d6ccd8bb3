# The checks of every client of a Nomad cluster, registered in Consul, which takes it out of service while /readyz fails.
# Prometheus finds it there by consul_sd_configs.
#
#   nomad job run hospital.nomad.hcl
job "hospital" {
  type = "system"

  # One client after the other.
  update {
    max_parallel = 1
  }

  group "hospital" {
    network {
      port "health" {
        static = 1515
      }
    }

    service {
      name = "hospital"
      port = "health"

      check {
        name     = "readyz"
        type     = "http"
        path     = "/readyz"
        interval = "10s"
        timeout  = "5s"
      }

      check {
        name     = "livez"
        type     = "http"
        path     = "/livez"
        interval = "10s"
        timeout  = "2s"

        # Hung: it is started anew.
        check_restart {
          limit = 3
          grace = "10s"
        }
      }
    }

    task "hospital" {
      driver = "docker"

      config {
        image        = "hospital:0.1.0"
        args         = ["serve"]
        network_mode = "host"
      }

      env {
        HEALTHCHECKS              = "root=disk:/#free=10% load:#max=4 memory:#available=5%"
        HOSPITAL_PORT             = "${NOMAD_PORT_health}"
        HOSPITAL_REQUEST_TIMEOUT  = "4s"
        HOSPITAL_DRAIN_DELAY      = "10s"
        HOSPITAL_GRACEFUL_TIMEOUT = "15s"
      }

      # The two times above, and 5 seconds to spare. The cluster's own limit (max_kill_timeout) is 30 seconds unless set.
      kill_timeout = "30s"

      resources {
        cpu    = 50
        memory = 64
      }
    }
  }
}
