output "dns_name" {
  value       = aws_lb.this.dns_name
  description = "Point the senders' name at it."
}

output "zone_id" {
  value       = aws_lb.this.zone_id
  description = "For an alias record of Route 53."
}

output "target_group_arn" {
  value       = aws_lb_target_group.replicas.arn
  description = "Where replicas are registered."
}

output "balancer_security_group_id" {
  value       = aws_security_group.balancer.id
  description = "What the replicas' own security group must let in."
}
