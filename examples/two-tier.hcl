# A web tier and an api tier on machines that follow the load.
#
#   flowctl apply examples/two-tier.hcl
#
# The same on virtual machines, which run the functions in containers:
#
#   make build && bin/flowctl disk build     # the demo program, and the disk that machines start from
#   flowctl apply -var substrate=libvirt examples/two-tier.hcl

flow "two-tier" {
  description = "A web tier that calls an api tier, both load-balanced"
}

variable "substrate" {
  type        = string
  default     = "local"
  description = "What makes the machines: local or libvirt"
}

variable "rps" {
  type        = number
  default     = 50
  description = "Requests per second that each replica of web is to have"
}

# Virtual machines need a network, and their containers an image.

locals {
  guests = toset(var.substrate == "local" ? [] : ["guests"])
  here   = coalesce(one([for n in network.lan : n.gateway]), "127.0.0.1") # where replicas reach this computer
  image  = one([for i in image.demo : i.id])
}

network "lan" {
  for_each = local.guests
  provider = var.substrate
}

image "demo" {
  for_each = local.guests
  provider = "docker"
  host     = vm.node[0] # the others get it from there

  build {
    context    = "../bin"
    dockerfile = "${flow.dir}/demo/Dockerfile"
  }
}

vm "node" {
  provider = var.substrate
  network  = one(values(network.lan))
  cpus     = 2
  memory   = "1GiB"
  slots    = 4 # most replicas one machine takes
}

function "api" {
  on       = vm.node
  replicas = 2
  exec     = ["flowctl-demo", "api"]
  image    = local.image
  port     = 8080
  spread   = true
  cpu      = 0.5
  memory   = "64MiB"

  health {
    http     = "/healthz"
    interval = "1s"
  }
}

frontend "api" {
  listen = "${local.here}:8081"
  to     = function.api
}

function "web" {
  on     = vm.node
  exec   = ["flowctl-demo", "web"]
  image  = local.image
  port   = 8080
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
    target = var.rps # requests per second and replica
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
