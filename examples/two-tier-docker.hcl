# The two tiers of two-tier.hcl as containers on a Docker engine.
#
#   make build                      # bin/flowctl-demo, which the image is made of
#   flowctl apply examples/two-tier-docker.hcl

flow "two-tier-docker" {
  description = "A web tier that calls an api tier, in containers"
  provider    = "docker"
}

variable "engine" {
  type        = string
  default     = null
  description = "The engine: unix://…, ssh://user@box or tcp://…; this machine's own, if not set"
}

variable "context" {
  type        = string
  default     = "../bin"
  description = "The folder with the demo program"
}

host "box" {
  engine = var.engine
}

image "demo" {
  host = host.box
  build {
    context    = var.context
    dockerfile = "${flow.dir}/demo/Dockerfile"
  }
}

function "api" {
  on        = host.box
  replicas  = 2
  image     = image.demo.id
  exec      = ["flowctl-demo", "api"]
  port      = 8080
  cpu       = 0.25
  memory    = "64MiB"
  read_only = true
  cap_drop  = ["ALL"]

  health {
    http     = "/healthz"
    interval = "1s"
  }
}

frontend "api" {
  listen = "${host.box.gateway}:8081" # reached by the machine and its containers alone
  to     = function.api
}

function "web" {
  on        = host.box
  image     = image.demo.id
  exec      = ["flowctl-demo", "web"]
  port      = 8080
  env       = { API_URL = frontend.api.url }
  cpu       = 0.1875 # eight fit on two processors, with two of api
  memory    = "64MiB"
  read_only = true
  cap_drop  = ["ALL"]

  health {
    http = "/healthz"
  }
}

frontend "www" {
  listen  = "127.0.0.1:8080"
  balance = "least_conn"

  route "/" {
    to = function.web
  }
}

scaling "web" {
  target = function.web
  min    = 2
  max    = 8

  metric "rps" {
    target = 50 # requests per second and replica
  }
}

output "url" {
  description = "Where the web tier answers"
  value       = frontend.www.url
}
