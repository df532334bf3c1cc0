variable "name" {
  type        = string
  default     = "reductrai-proxy"
  description = "Of the balancer and what belongs to it."
}

variable "vpc_id" {
  type = string
}

variable "subnet_ids" {
  type        = list(string)
  description = "One in each zone that has replicas."

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "A balancer needs subnets in two zones."
  }
}

variable "certificate_arn" {
  type        = string
  description = "Of ACM, for the name that senders use."
}

variable "internal" {
  type        = bool
  default     = true
  description = "Not reachable from the internet."
}

variable "sender_cidrs" {
  type        = list(string)
  description = "Where agents and tracers are."
}

variable "replica_cidrs" {
  type        = list(string)
  description = "Where replicas are."
}

variable "replica_port" {
  type    = number
  default = 8080
}

variable "tags" {
  type    = map(string)
  default = {}
}
