variable "name" {
  description = "Name of the function, and the beginning of all other names."
  type        = string
  default     = "datasync-forwarder"
}

variable "package" {
  description = "Path of the zip file that `datasync lambda package` wrote."
  type        = string
}

variable "api_endpoint" {
  description = "Base URL of the service, such as https://datasync.example.com"
  type        = string

  validation {
    condition     = can(regex("^https?://[^@?#]+$", var.api_endpoint))
    error_message = "The endpoint must be a base URL without credentials, such as https://datasync.example.com"
  }
}

variable "notification_secret" {
  description = "The service's NOTIFICATION_SECRET; each request is signed with it."
  type        = string
  default     = ""
  sensitive   = true
}

variable "api_key" {
  description = "One of the service's API_KEYS."
  type        = string
  default     = ""
  sensitive   = true
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

variable "timeout_seconds" {
  description = "For all tries of one delivery."
  type        = number
  default     = 30

  validation {
    condition     = var.timeout_seconds >= 1 && var.timeout_seconds <= 34
    error_message = "The function itself ends after 35 seconds: give 1 to 34."
  }
}

variable "alarm_email" {
  description = "Address that hears of events in the dead-letter queue."
  type        = string
  default     = ""
}

variable "alarm_topic_arns" {
  description = "SNS topics that hear of them."
  type        = list(string)
  default     = []
}

variable "redrive" {
  description = "Hand what is in the dead-letter queue to the function again."
  type        = bool
  default     = false
}
