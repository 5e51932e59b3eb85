# A web tier and an api tier on machines that follow the load.
#
#   flowctl apply examples/two-tier.hcl

flow "two-tier" {
  description = "A web tier that calls an api tier, both load-balanced"
}

variable "substrate" {
  type        = string
  default     = "local"
  description = "What makes the machines: local"
}

vm "node" {
  provider = var.substrate
  cpus     = 2
  memory   = "1GiB"
  slots    = 6 # most replicas one machine takes
}

function "api" {
  on       = vm.node
  replicas = 2
  exec     = ["flowctl-demo", "api"]
  image    = "flowctl/demo:latest"
  spread   = true
  cpu      = 0.5
  memory   = "64MiB"

  health {
    http     = "/healthz"
    interval = "1s"
  }
}

frontend "api" {
  listen = "127.0.0.1:8081"
  to     = function.api
}

function "web" {
  on     = vm.node
  exec   = ["flowctl-demo", "web"]
  image  = "flowctl/demo:latest"
  env    = { API_URL = frontend.api.url } # an edge: web waits for the api frontend
  spread = true
  cpu    = 0.25
  memory = "64MiB"

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

scaling "node" {
  target   = vm.node # the machines follow the containers
  min      = 2
  max      = 4
  headroom = 1 # free slots kept ready
}

output "url" {
  description = "Where the web tier answers"
  value       = frontend.www.url
}
