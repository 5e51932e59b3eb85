# The rule of an HTCondor pool whose machines come and go with its queue: it is looked at
# every ten seconds, decided about after a minute, and a machine that had no job for a
# minute goes. The queue here is one of a NATS server.
#
#   nats-server -js -m 8222
#   flowctl apply examples/classics/queue.hcl     # no machine, no worker: there are no jobs
#   flowctl-demo submit -jobs=40 -job=20s
#   flowctl status -w examples/classics/queue.hcl
#
# There, nothing bounded the number of machines, and one that went took its job with it.
# Here, a worker that is to go finishes its job first, and what a dead one had begun is
# done by another: a job stays in the queue, and is counted, until it is done.

flow "queue" {}

variable "substrate" {
  type    = string
  default = "local"
}

variable "broker" {
  type    = string
  default = "nats://127.0.0.1:4222"
}

variable "monitor" {
  type        = string
  default     = "http://127.0.0.1:8222"
  description = "Where the NATS server tells how long its queues are"
}

variable "sample" {
  type        = string
  default     = "10s"
  description = "The time between two looks at the queue"
}

variable "decide" {
  type        = string
  default     = "60s"
  description = "How long jobs wait before there is another machine, and machines for jobs"
}

vm "node" {
  provider = var.substrate
  cpus     = 1
  memory   = "1GiB"
  slots    = 1
}

function "worker" {
  on   = vm.node
  exec = ["flowctl-demo", "worker"]
  env  = { BROKER = var.broker, DRAIN = "10m" }

  health {
    http = "/healthz"
  }

  stop {
    grace = "10m" # for the job at hand
  }
}

scaling "worker" {
  target = function.worker
  min    = 0
  max    = 4
  every  = var.sample

  metric "jobs" {
    source    = "http"
    endpoint  = "${var.monitor}/jsz?streams=true"
    query     = "account_details.0.stream_detail.#(name==\"jobs\").state.messages"
    target    = 4 # jobs for each worker
    aggregate = "last"

    burst {
      factor = 0
    }
  }

  up {
    stabilise = var.decide
  }

  down {
    stabilise = var.decide
    cooldown  = var.sample

    limit {
      percent = 100
      per     = var.decide
    }
  }

  zero {
    after = var.decide
  }
}

scaling "node" {
  target = vm.node
  min    = 0
  max    = 4

  down {
    stabilise = var.decide
    cooldown  = var.sample

    limit {
      percent = 100
      per     = var.decide
    }
  }

  budget {
    percent = 100 # they are empty when they go
  }
}
