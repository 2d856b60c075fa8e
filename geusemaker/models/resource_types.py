"""The types of the resources that are spoken of by name, as Pulumi's AWS and command providers call them."""

from __future__ import annotations

from typing import Final

INSTANCE: Final = "aws:ec2/instance:Instance"
SECURITY_GROUP: Final = "aws:ec2/securityGroup:SecurityGroup"
INGRESS_RULE: Final = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
EGRESS_RULE: Final = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
KEY_PAIR: Final = "aws:ec2/keyPair:KeyPair"
ROLE: Final = "aws:iam/role:Role"
PROFILE: Final = "aws:iam/instanceProfile:InstanceProfile"
ADDRESS: Final = "aws:ec2/eip:Eip"
ADDRESS_ASSOCIATION: Final = "aws:ec2/eipAssociation:EipAssociation"
FILE_SYSTEM: Final = "aws:efs/fileSystem:FileSystem"
BACKUP_POLICY: Final = "aws:efs/backupPolicy:BackupPolicy"
MOUNT_TARGET: Final = "aws:efs/mountTarget:MountTarget"
ACCESS_POINT: Final = "aws:efs/accessPoint:AccessPoint"
DATA_VOLUME: Final = "aws:ebs/volume:Volume"
ATTACHMENT: Final = "aws:ec2/volumeAttachment:VolumeAttachment"
REMOTE_COMMAND: Final = "command:remote:Command"
