output "notification" {
  description = "The block lambda_function for an aws_s3_bucket_notification of your own, without which no event comes unless manage_notification is true."
  value = {
    id                  = var.name
    lambda_function_arn = aws_lambda_function.forwarder.arn
    events              = local.events
    filter_prefix       = local.filter_prefix
  }

  # S3 tries the target when a notification is set.
  depends_on = [aws_lambda_permission.bucket]
}

output "function_arn" {
  value = aws_lambda_function.forwarder.arn
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
