# S3 events through a Lambda function to a DataSync service: the twin of lambda/template.yaml.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  bucket_arn    = "arn:${data.aws_partition.current.partition}:s3:::${var.bucket}"
  alarm_actions = concat(var.alarm_topic_arns, aws_sns_topic.alarm[*].arn)
  timeout       = 35 # above TIMEOUT_SECONDS

  # What changes a mirror.
  events = [
    "s3:ObjectCreated:*",
    "s3:ObjectRemoved:*",
    "s3:ObjectRestore:Completed",
    "s3:LifecycleExpiration:*",
  ]
  # S3 wants it as keys stand in events: percent-encoded, spaces as plus.
  filter_prefix = var.prefix == "" ? null : replace(urlencode(var.prefix), "%2F", "/")
}

resource "aws_lambda_function" "forwarder" {
  function_name    = var.name
  description      = "Posts S3 events to DataSync"
  filename         = var.package
  source_code_hash = filebase64sha256(var.package)
  handler          = "s3_lambda_handler.lambda_handler"
  runtime          = "python3.13"
  architectures    = ["arm64"]
  memory_size      = 128
  timeout          = local.timeout
  role             = aws_iam_role.forwarder.arn

  environment {
    variables = {
      API_ENDPOINT        = var.api_endpoint
      NOTIFICATION_SECRET = var.notification_secret
      API_KEY             = var.api_key
      TIMEOUT_SECONDS     = tostring(var.timeout_seconds)
      RETRY_ATTEMPTS      = "3"
    }
  }

  dead_letter_config {
    target_arn = aws_sqs_queue.dead_letters.arn
  }

  logging_config {
    log_format = "Text"
    log_group  = aws_cloudwatch_log_group.forwarder.name
  }

  lifecycle {
    precondition {
      condition     = var.notification_secret != "" || var.api_key != ""
      error_message = "Give notification_secret, or api_key, or both."
    }
  }

  depends_on = [aws_iam_role_policy.forwarder]
}

resource "aws_lambda_function_event_invoke_config" "forwarder" {
  function_name                = aws_lambda_function.forwarder.function_name
  maximum_retry_attempts       = 2
  maximum_event_age_in_seconds = 21600
}

resource "aws_cloudwatch_log_group" "forwarder" {
  name              = "/aws/lambda/${var.name}"
  retention_in_days = 30
}

resource "aws_iam_role" "forwarder" {
  name_prefix = "${var.name}-"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "forwarder" {
  name = "forwarder"
  role = aws_iam_role.forwarder.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.forwarder.arn}:*"
      },
      {
        Effect = "Allow"
        Action = [
          "sqs:SendMessage",
          "sqs:ReceiveMessage", # this and the next two are for var.redrive
          "sqs:DeleteMessage",
          "sqs:GetQueueAttributes",
        ]
        Resource = aws_sqs_queue.dead_letters.arn
      },
    ]
  })
}

# What could not be delivered: kept, told, and handed over again when var.redrive is true.

resource "aws_sqs_queue" "dead_letters" {
  name                       = "${var.name}-dead-letters"
  message_retention_seconds  = 1209600
  visibility_timeout_seconds = 6 * local.timeout # as Lambda wants it
  sqs_managed_sse_enabled    = true
}

resource "aws_lambda_event_source_mapping" "redrive" {
  event_source_arn        = aws_sqs_queue.dead_letters.arn
  function_name           = aws_lambda_function.forwarder.arn
  enabled                 = var.redrive
  batch_size              = 10
  function_response_types = ["ReportBatchItemFailures"]
}

resource "aws_cloudwatch_metric_alarm" "dead_letters" {
  alarm_name          = "${var.name}-dead-letters"
  alarm_description   = "S3 events that could not be delivered to DataSync wait in the queue"
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.dead_letters.name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
}

resource "aws_sns_topic" "alarm" {
  count = var.alarm_email == "" ? 0 : 1
  name  = "${var.name}-alarm"
}

resource "aws_sns_topic_subscription" "alarm" {
  count     = var.alarm_email == "" ? 0 : 1
  topic_arn = aws_sns_topic.alarm[0].arn
  protocol  = "email"
  endpoint  = var.alarm_email
}

# The bucket's side. The notification replaces all that the bucket has: only when it is asked for.

resource "aws_lambda_permission" "bucket" {
  statement_id   = "bucket"
  function_name  = aws_lambda_function.forwarder.function_name
  action         = "lambda:InvokeFunction"
  principal      = "s3.amazonaws.com"
  source_account = data.aws_caller_identity.current.account_id
  source_arn     = local.bucket_arn
}

resource "aws_s3_bucket_notification" "events" {
  count  = var.manage_notification ? 1 : 0
  bucket = var.bucket

  lambda_function {
    id                  = var.name
    lambda_function_arn = aws_lambda_function.forwarder.arn
    events              = local.events
    filter_prefix       = local.filter_prefix
  }

  depends_on = [aws_lambda_permission.bucket]
}
