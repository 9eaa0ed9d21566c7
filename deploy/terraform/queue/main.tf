# S3 events through an SQS queue to a DataSync service, which needs no public address: the twin of
# lambda/queue-template.yaml.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  bucket_arn    = "arn:${data.aws_partition.current.partition}:s3:::${var.bucket}"
  alarm_actions = concat(var.alarm_topic_arns, aws_sns_topic.alarm[*].arn)

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

resource "aws_sqs_queue" "events" {
  name                       = var.name
  message_retention_seconds  = 345600
  visibility_timeout_seconds = 60
  receive_wait_time_seconds  = 20
  sqs_managed_sse_enabled    = true

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters.arn
    maxReceiveCount     = 5
  })
}

resource "aws_sqs_queue" "dead_letters" {
  name                      = "${var.name}-dead-letters"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
}

resource "aws_sqs_queue_policy" "events" {
  queue_url = aws_sqs_queue.events.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "s3.amazonaws.com" }
      Action    = "sqs:SendMessage"
      Resource  = aws_sqs_queue.events.arn
      Condition = {
        ArnEquals    = { "aws:SourceArn" = local.bucket_arn }
        StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id }
      }
    }]
  })
}

resource "aws_iam_policy" "service" {
  name_prefix = "${var.name}-"
  description = "What a DataSync service needs to mirror the bucket and to read its events"

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect = "Allow"
        Action = [
          "sqs:ReceiveMessage",
          "sqs:DeleteMessage",
          "sqs:ChangeMessageVisibility",
          "sqs:GetQueueAttributes",
        ]
        Resource = aws_sqs_queue.events.arn
      },
      {
        Effect = "Allow"
        Action = [
          "s3:ListBucket",
          "s3:GetBucketNotification", # lets it see that the bucket's events come here
        ]
        Resource = local.bucket_arn
      },
      {
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = "${local.bucket_arn}/*"
      },
    ]
  })
}

resource "aws_iam_role_policy_attachment" "service" {
  count      = var.service_role_name == "" ? 0 : 1
  role       = var.service_role_name
  policy_arn = aws_iam_policy.service.arn
}

resource "aws_cloudwatch_metric_alarm" "dead_letters" {
  alarm_name          = "${var.name}-dead-letters"
  alarm_description   = "DataSync could not read some S3 events"
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

resource "aws_cloudwatch_metric_alarm" "waiting" {
  alarm_name          = "${var.name}-waiting"
  alarm_description   = "S3 events have waited for 15 minutes; DataSync does not read them"
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  dimensions          = { QueueName = aws_sqs_queue.events.name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 900
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

resource "aws_s3_bucket_notification" "events" {
  count  = var.manage_notification ? 1 : 0
  bucket = var.bucket

  queue {
    id            = var.name
    queue_arn     = aws_sqs_queue.events.arn
    events        = local.events
    filter_prefix = local.filter_prefix
  }

  depends_on = [aws_sqs_queue_policy.events]
}
