output "queue_url" {
  description = "The service's SQS_QUEUE_URL."
  value       = aws_sqs_queue.events.url
}

output "queue_arn" {
  description = "For an aws_s3_bucket_notification of your own."
  value       = aws_sqs_queue.events.arn
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
