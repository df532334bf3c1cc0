# An Application Load Balancer in front of reductrai-proxy replicas. NOT EXECUTED by the project's tests: parsed and formatted only.
#
# Replicas are registered by whoever runs them: ECS by `load_balancer` of its service, EKS by the AWS Load Balancer Controller, machines by
# aws_lb_target_group_attachment with the outputs of this module.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

resource "aws_security_group" "balancer" {
  name_prefix = "${var.name}-balancer-"
  description = "Senders to the balancer of ${var.name}"
  vpc_id      = var.vpc_id

  ingress {
    description = "Agents and tracers"
    from_port   = 443
    to_port     = 443
    protocol    = "tcp"
    cidr_blocks = var.sender_cidrs
  }

  egress {
    description = "Replicas"
    from_port   = var.replica_port
    to_port     = var.replica_port
    protocol    = "tcp"
    cidr_blocks = var.replica_cidrs
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_lb" "this" {
  name               = var.name
  internal           = var.internal
  load_balancer_type = "application"
  subnets            = var.subnet_ids
  security_groups    = [aws_security_group.balancer.id]
  # Replicas keep idle connections for 75 s: this end closes first.
  idle_timeout               = 60
  drop_invalid_header_fields = true
  tags                       = var.tags
}

resource "aws_lb_target_group" "replicas" {
  name        = var.name
  vpc_id      = var.vpc_id
  target_type = "ip"
  protocol    = "HTTP"
  port        = var.replica_port
  # A replica drains for 30 s (server.drain_deadline).
  deregistration_delay          = 40
  load_balancing_algorithm_type = "least_outstanding_requests"
  tags                          = var.tags

  # Two checks are longer than server.drain_notice by default: set REDUCTRAI_DRAIN_NOTICE=15s on the replicas.
  health_check {
    path                = "/readyz"
    matcher             = "200"
    interval            = 5
    timeout             = 3
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.this.arn
  protocol          = "HTTPS"
  port              = 443
  certificate_arn   = var.certificate_arn
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.replicas.arn
  }
}
