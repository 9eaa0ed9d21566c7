variable "name" {
  description = "Name of the queue, and the beginning of all other names."
  type        = string
  default     = "datasync-events"
}

variable "bucket" {
  description = "Name of the bucket that DataSync mirrors."
  type        = string
}

variable "prefix" {
  description = "Only events of keys that begin with this; the service's S3_PREFIX."
  type        = string
  default     = ""
}

variable "manage_notification" {
  description = "true makes this module the owner of all the bucket's notifications: every other one is removed, by an apply and by a destroy. false leaves the bucket alone: put the output notification into your own aws_s3_bucket_notification."
  type        = bool
  default     = false
}

variable "service_role_name" {
  description = "Role the service runs as; it gets the policy. Empty: attach service_policy_arn yourself."
  type        = string
  default     = ""
}

variable "alarm_email" {
  description = "Address that hears of events nobody reads, and of those nobody can read."
  type        = string
  default     = ""
}

variable "alarm_topic_arns" {
  description = "SNS topics that hear of them."
  type        = list(string)
  default     = []
}
