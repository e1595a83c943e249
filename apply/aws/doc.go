// Package aws asks Amazon's API of the images and instance types that a
// rollout would use. It only reads, within a few seconds, and with the
// credentials and settings that aws-sdk-go-v2 finds: environment, profiles,
// single sign-on, web identity, container and, where it is asked for, instance
// roles. What cannot be found out is an answer that says why, and neither holds
// anything of the credentials.
//
// It needs these rights, each for what its answer says:
//
//	ec2:DescribeImages                  the image is there, and what it is
//	ec2:DescribeInstanceTypes           the type is there, and what it needs
//	ec2:DescribeInstanceTypeOfferings   in which zones
//	ec2:DescribeVpcs                    that the account is the cluster's
//	ec2:DescribeInstances               how much of a quota is used
//	servicequotas:GetServiceQuota       how much there is
package aws
