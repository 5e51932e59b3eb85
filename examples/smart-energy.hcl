# What the meters of two sites use, from the meters to the control room:
#
#   collectors ─► broker ─► writer ─► store ─► page
#
#   make build energy               # bin/flowctl, and what the images are made of
#   bin/flowctl apply examples/smart-energy.hcl

flow "smart-energy" {
  description = "Meters, a broker, a time-series store and a control room, in containers"
  provider    = "docker"
}

variable "engine" {
  type        = string
  default     = null
  description = "The engine: unix://…, ssh://user@box or tcp://…; this machine's own, if not set"
}

variable "contexts" {
  type        = string
  default     = "smart-energy/build"
  description = "The folder in which make energy has put together what the images are built from"
}

variable "every" {
  type        = string
  default     = "1s"
  description = "The time between two readings of a meter"
}

locals {
  sites  = ["north", "south"]
  meters = ["heating", "cooling", "servers"]
}

host "box" {
  engine = var.engine
}

image "programs" {
  host = host.box
  build {
    context = "${var.contexts}/programs"
  }
}

image "broker" {
  host = host.box
  build {
    context = "${var.contexts}/broker"
  }
}

image "store" {
  host = host.box
  build {
    context = "${var.contexts}/store"
  }
}

# The broker keeps each reading on its volume until the writer has acknowledged it.
function "broker" {
  on        = host.box
  image     = image.broker.id
  exec      = ["nats-server", "--name=broker", "--jetstream", "--store_dir=/data"]
  port      = 4222
  protocol  = "tcp"
  cpu       = 0.2
  memory    = "128MiB"
  read_only = true
  cap_drop  = ["ALL"]

  volume "/data" {
    name = "broker"
  }
  health {
    tcp = true
  }
  update {
    max_surge = 0 # never two on one volume
  }
}

# A collector for each site, beside the broker: a reading that is taken should not
# have to cross a network to be safe.
function "collector" {
  for_each   = toset(local.sites)
  on         = host.box
  colocate   = [function.broker]
  depends_on = [function.broker]
  image      = image.programs.id
  exec       = ["smart-energy", "collect"]
  env = {
    SITE   = each.key
    METERS = join(",", local.meters)
    EVERY  = var.every
    BROKER = "nats://broker:4222"
    SPOOL  = "/spool"
  }
  port      = 8080
  cpu       = 0.1
  memory    = "64MiB"
  read_only = true
  cap_drop  = ["ALL"]

  volume "/spool" {
    name = "spool-${each.key}"
  }
  health {
    http = "/healthz"
  }
  update {
    max_surge = 0
  }
}

function "store" {
  on        = host.box
  image     = image.store.id
  port      = 8086
  cpu       = 0.4
  memory    = "256MiB"
  read_only = true
  cap_drop  = ["ALL"]

  volume "/data" {
    name = "store"
  }
  health {
    http = "/ping"
  }
  update {
    max_surge = 0
  }
}

# The database, the tariff and a day of history: after the store is there, before
# anybody looks at it, and again if the store is made anew.
task "seed" {
  when    = "update"
  exec    = ["${var.contexts}/programs/smart-energy", "seed"]
  retries = 3
  env = {
    STORE  = function.store[0].url
    SITE   = join(",", local.sites)
    METERS = join(",", local.meters)
  }
}

function "writer" {
  on         = host.box
  depends_on = [function.broker, task.seed]
  image      = image.programs.id
  exec       = ["smart-energy", "write"]
  env = {
    BROKER = "nats://broker:4222"
    STORE  = "http://store:8086"
  }
  port      = 8080
  cpu       = 0.1
  memory    = "64MiB"
  read_only = true
  cap_drop  = ["ALL"]

  health {
    http = "/healthz"
  }
}

function "page" {
  on         = host.box
  depends_on = [task.seed]
  image      = image.programs.id
  exec       = ["smart-energy", "page"]
  env        = { STORE = "http://store:8086" }
  port       = 8080
  drain      = "1s" # those who watch come back by themselves
  cpu        = 0.1
  memory     = "64MiB"
  read_only  = true
  cap_drop   = ["ALL"]

  health {
    http = "/healthz"
  }
}

frontend "room" {
  listen = "127.0.0.1:8090"
  to     = function.page
}

output "url" {
  description = "Where the control room is"
  value       = frontend.room.url
}

output "store" {
  description = "Where the store answers queries"
  value       = function.store[0].url
}

output "collectors" {
  description = "Where collectors tell how far they are"
  value       = { for site in local.sites : site => function.collector[site][0].url }
}
