# Nomad job with a Consul service. NOT EXECUTED by the project's tests: parsed and formatted only.
#
#   nomad var put nomad/jobs/reductrai-proxy datadog_api_key="$KEY"
#   nomad job run -var storage_url='s3://telemetry/prod?region=eu-west-1' reductrai-proxy.nomad.hcl
#
# Balancers find the replicas as reductrai-proxy.service.consul; only those whose check on /readyz passes.

variable "storage_url" {
  type        = string
  description = "s3://bucket/prefix?region=…, gs://…, azblob://account/container/…"
}

variable "image" {
  type    = string
  default = "reductrai/proxy:latest"
}

variable "datacenters" {
  type    = list(string)
  default = ["*"]
}

job "reductrai-proxy" {
  type        = "service"
  datacenters = var.datacenters

  # Over zones, by the metadata of the clients.
  spread {
    attribute = "${meta.zone}"
    weight    = 100
  }

  group "proxy" {
    count = 3

    # Over machines as well; not strictly, else a canary would need a fourth one.
    spread {
      attribute = "${node.unique.id}"
      weight    = 50
    }

    # With DURABILITY=store nothing is lost with it.
    ephemeral_disk {
      size = 5120
    }

    # A new replica is healthy before an old one goes (canary = count would be blue and green).
    update {
      max_parallel      = 1
      canary            = 1
      auto_promote      = true
      auto_revert       = true
      health_check      = "checks"
      min_healthy_time  = "15s"
      healthy_deadline  = "3m"
      progress_deadline = "10m"
    }

    restart {
      attempts = 5
      interval = "1m"
      delay    = "5s"
      mode     = "delay"
    }

    reschedule {
      delay          = "10s"
      delay_function = "exponential"
      max_delay      = "5m"
      unlimited      = true
    }

    network {
      port "http" {
        to = 8080
      }
    }

    service {
      name = "reductrai-proxy"
      port = "http"
      tags = ["telemetry"]

      check {
        type     = "http"
        path     = "/readyz"
        interval = "2s"
        timeout  = "2s"
      }
    }

    task "proxy" {
      driver = "docker"
      user   = "1000:1000"

      config {
        image           = var.image
        ports           = ["http"]
        readonly_rootfs = true
        cap_drop        = ["all"]
        security_opt    = ["no-new-privileges"]

        volumes = ["../alloc/data:/app/data"]

        mount {
          type   = "tmpfs"
          target = "/tmp"
          tmpfs_options {
            size = 67108864
          }
        }
      }

      env {
        STORAGE_URL                     = var.storage_url
        DURABILITY                      = "store"
        REPLICA_ID                      = "${NOMAD_ALLOC_ID}"
        CLEANUP_SCHEDULE                = "0 * * * *"
        REDUCTRAI_INTAKE_DECODE_WORKERS = "2"
        DATADOG_API_KEY_FILE            = "${NOMAD_SECRETS_DIR}/datadog-api-key"
      }

      template {
        destination = "${NOMAD_SECRETS_DIR}/datadog-api-key"
        change_mode = "restart"
        data        = "{{ with nomadVar \"nomad/jobs/reductrai-proxy\" }}{{ .datadog_api_key }}{{ end }}"
      }

      # Consul stops naming it, then SIGTERM; more than server.drain_deadline (30 s).
      shutdown_delay = "5s"
      kill_signal    = "SIGTERM"
      kill_timeout   = "40s"

      resources {
        cpu        = 1000
        memory     = 768
        memory_max = 2048
      }
    }
  }
}
