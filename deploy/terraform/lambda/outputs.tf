output "function_arn" {
  description = "For an aws_s3_bucket_notification of your own."
  value       = aws_lambda_function.forwarder.arn
}

output "function_name" {
  value = aws_lambda_function.forwarder.function_name
}

output "log_group_name" {
  value = aws_cloudwatch_log_group.forwarder.name
}

output "dead_letter_queue_url" {
  value = aws_sqs_queue.dead_letters.url
}

output "redrive_mapping_id" {
  value = aws_lambda_event_source_mapping.redrive.uuid
}
