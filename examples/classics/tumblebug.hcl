# The policies of CB-Tumblebug: the mean of a metric over all machines, of the last N
# samples of ten seconds, compared with a number; after an action N samples more are
# waited for. There are two policies: processors and memory.
#
# There, scaling in found no machine, nothing had bounds, and a machine that could not
# be measured ended a policy for good. Here, what is missing makes nothing smaller.

flow "tumblebug" {}

variable "substrate" {
  type    = string
  default = "local"
}

variable "listen" {
  type    = string
  default = "127.0.0.1:8080"
}

variable "out" {
  type        = number
  default     = 0.8
  description = "The share of processors or memory above which there is one more"
}

variable "in" {
  type        = number
  default     = 0.2
  description = "The share of both below which there is one less"
}

variable "tick" {
  type        = string
  default     = "10s"
  description = "The time between two looks"
}

variable "period" {
  type        = string
  default     = "50s"
  description = "The time of N samples"
}

vm "node" {
  provider = var.substrate
  cpus     = 1
  memory   = "1GiB"
  slots    = 1
}

function "web" {
  on     = vm.node
  exec   = ["flowctl-demo", "fib"]
  cpu    = 1
  memory = "512MiB"
  drain  = "2s"

  health {
    http = "/healthz"
  }
}

frontend "www" {
  listen = var.listen
  to     = function.web
}

scaling "web" {
  target  = function.web
  min     = 1
  max     = 3
  every   = var.tick
  formula = "max(cpu, memory) > ${var.out} ? replicas + 1 : max(cpu, memory) < ${var.in} ? replicas - 1 : replicas"

  metric "cpu" {
    window = var.period
  }

  metric "memory" {
    window = var.period
  }

  up {
    tolerance = 0
    cooldown  = var.period
  }

  down {
    tolerance = 0
    cooldown  = var.period
    stabilise = "0s"

    limit {
      replicas = 1
      per      = var.period
    }
  }
}

scaling "node" {
  target = vm.node
  min    = 1
  max    = 3
}

output "url" {
  value = frontend.www.url
}
