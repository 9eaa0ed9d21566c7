output "notification" {
  description = "The block queue for an aws_s3_bucket_notification of your own, without which no event comes unless manage_notification is true."
  value = {
    id            = var.name
    queue_arn     = aws_sqs_queue.events.arn
    events        = local.events
    filter_prefix = local.filter_prefix
  }

  # S3 tries the target when a notification is set.
  depends_on = [aws_sqs_queue_policy.events]
}

output "queue_url" {
  description = "The service's SQS_QUEUE_URL."
  value       = aws_sqs_queue.events.url
}

output "queue_arn" {
  value = aws_sqs_queue.events.arn
}

output "service_policy_arn" {
  value = aws_iam_policy.service.arn
}

output "dead_letter_queue_url" {
  value = aws_sqs_queue.dead_letters.url
}

output "dead_letter_queue_arn" {
  value = aws_sqs_queue.dead_letters.arn
}
