//! S3 as its users run it: boto3, the AWS CLI, rclone, s3cmd and restic, on the
//! same objects as the Swift clients.
use std::path::PathBuf;

use virga_tests::cloud::Cloud;

use crate::object_clients::NOT;

/// Sources the demo user's keys after the openrc.
pub const KEYS: &str = ". data/s3.env\nexport AWS_EC2_METADATA_DISABLED=true\n";

#[test]
fn aws_copies_syncs_and_presigns() {
    let cloud = Cloud::start();
    cloud.demo_shell(&format!(
        "{KEYS}{NOT}mkdir -p in/sub; head -c 20M /dev/urandom > in/big; : > in/empty; echo hi > 'in/sub/n\u{e4}me with space'\n\
         aws s3 mb s3://box\n\
         aws s3 cp --quiet in/big s3://box/big; aws s3 cp --quiet s3://box/big back; cmp in/big back\n\
         aws s3 sync --quiet in s3://box/tree; aws s3 sync --quiet s3://box/tree out; diff -r in out\n\
         curl -fsS \"$(aws s3 presign s3://box/tree/big)\" | cmp - in/big\n\
         not aws s3api put-object --bucket box --key big --body in/empty --if-none-match '*'\n\
         not env AWS_SECRET_ACCESS_KEY=wrong aws s3 ls\n\
         swift download --quiet box big -o swift; cmp in/big swift\n\
         swift upload --quiet box in/big --object-name back2; aws s3 cp --quiet s3://box/back2 b2; cmp b2 in/big\n\
         aws s3 rb --force s3://box > /dev/null; test -z \"$(swift list)\"\n",
    ));
}

#[test]
fn rclone_syncs_and_checks_over_s3() {
    let cloud = Cloud::start();
    let tree = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs"));
    cloud.demo_shell(&format!(
        "{KEYS}export RCLONE_CONFIG_V_TYPE=s3 RCLONE_CONFIG_V_PROVIDER=Other RCLONE_CONFIG_V_ENV_AUTH=true \
         RCLONE_CONFIG_V_ENDPOINT=$AWS_ENDPOINT_URL RCLONE_CONFIG_V_REGION=$AWS_DEFAULT_REGION\n\
         cp -r '{}' tree; head -c 20M /dev/urandom > tree/blob\n\
         rclone sync --s3-chunk-size 5Mi --s3-upload-cutoff 6Mi tree v:box/tree; rclone check tree v:box/tree\n\
         rm tree/blob; echo new > tree/new; rclone sync tree v:box/tree; rclone check --download tree v:box/tree\n\
         test \"$(rclone cat v:box/tree/new)\" = new\n\
         rclone purge v:box\n",
        tree.display()
    ));
}

#[test]
fn boto3_uploads_in_parts_with_checksums_and_reads_what_swift_wrote() {
    let cloud = Cloud::start();
    let said = cloud.demo_shell(&format!(
        "{KEYS}echo from swift > s; swift upload --quiet box s\n\
         head -c 20M /dev/urandom > big\n\
         cat > t.py <<'P'\n\
import boto3, hashlib\n\
from boto3.s3.transfer import TransferConfig\n\
s3 = boto3.client('s3')\n\
print(s3.get_object(Bucket='box', Key='s')['Body'].read().decode().strip())\n\
config = TransferConfig(multipart_threshold=6 << 20, multipart_chunksize=5 << 20)\n\
s3.upload_file('big', 'box', 'big', Config=config, ExtraArgs=dict(ChecksumAlgorithm='SHA256', Metadata=dict(a='1')))\n\
head = s3.head_object(Bucket='box', Key='big', ChecksumMode='ENABLED')\n\
print(head['ETag'].split('-')[1], head['ChecksumSHA256'].split('-')[1])\n\
body = s3.get_object(Bucket='box', Key='big')['Body'].read()\n\
print(hashlib.sha256(body).digest() == hashlib.sha256(open('big', 'rb').read()).digest())\n\
P\n\
         python t.py; swift download --quiet box big -o back; cmp big back\n",
    ));
    assert_eq!(said, "from swift\n4\" 4\nTrue\n");
}

#[test]
fn boto3_uploads_five_gibibytes_in_parts_that_swift_reads() {
    let cloud = Cloud::start();
    let mib = if std::env::var_os("VIRGA_SOAK").is_some() {
        5120
    } else {
        48
    };
    let said = cloud.demo_shell(&format!(
        "{KEYS}head -c {mib}M /dev/urandom > big\n\
         cat > t.py <<'P'\n\
import boto3\n\
from boto3.s3.transfer import TransferConfig\n\
s3 = boto3.client('s3')\n\
s3.create_bucket(Bucket='box')\n\
s3.upload_file('big', 'box', 'big', Config=TransferConfig(multipart_chunksize=16 << 20), ExtraArgs=dict(ChecksumAlgorithm='CRC32'))\n\
print(s3.head_object(Bucket='box', Key='big')['ContentLength'] >> 20)\n\
s3.download_file('box', 'big', 'back')\n\
P\n\
         python t.py; cmp big back; rm back; swift download --quiet box big -o back; cmp big back\n",
    ));
    assert_eq!(said, format!("{mib}\n"));
}

#[test]
fn what_swift_uploads_in_segments_is_one_object_over_s3() {
    let cloud = Cloud::start();
    cloud.demo_shell(&format!(
        "{KEYS}head -c 20M /dev/urandom > big\n\
         swift upload --quiet -S 6M --use-slo box big; swift upload --quiet -S 6M --use-dlo dlo big\n\
         for c in box dlo; do aws s3 cp --quiet s3://$c/big back; cmp big back; rm back; done\n\
         test \"$(aws s3api head-object --bucket box --key big --query ContentLength)\" = $((20 << 20))\n\
         aws s3api get-object --bucket box --key big --range bytes=6291450-6291469 part > /dev/null\n\
         tail -c +6291451 big | head -c 20 | cmp - part\n",
    ));
}

#[test]
fn s3cmd_puts_lists_syncs_and_removes() {
    let cloud = Cloud::start();
    let tree = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs"));
    cloud.demo_shell(&format!(
        "{KEYS}host=${{AWS_ENDPOINT_URL#http://}}\n\
         s3() {{ s3cmd --no-progress --config none --access_key $AWS_ACCESS_KEY_ID --secret_key $AWS_SECRET_ACCESS_KEY \
         --host $host --host-bucket $host --no-ssl --region $AWS_DEFAULT_REGION --multipart-chunk-size-mb 5 \"$@\"; }}\n\
         touch none; head -c 12M /dev/urandom > big; cp -r '{}' tree\n\
         s3 mb s3://box; s3 put big s3://box/big; s3 get s3://box/big back; cmp big back\n\
         s3 cp s3://box/big s3://box/copy; s3 mv s3://box/copy s3://box/moved\n\
         test \"$(s3 ls s3://box | wc -l)\" = 2\n\
         s3 sync tree/ s3://box/tree/; mkdir out; s3 sync s3://box/tree/ out/; diff -r tree out\n\
         s3 info s3://box/big | grep -q 'File size: *12582912'\n\
         s3 del --recursive --force s3://box; s3 rb s3://box; test -z \"$(swift list)\"\n",
        tree.display()
    ));
}

#[test]
fn restic_backs_up_checks_and_restores() {
    let cloud = Cloud::start();
    let tree = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs"));
    cloud.demo_shell(&format!(
        "{KEYS}export RESTIC_PASSWORD=sesame RESTIC_REPOSITORY=s3:$AWS_ENDPOINT_URL/backup RESTIC_CACHE_DIR=$PWD/cache\n\
         restic() {{ command restic --quiet -o s3.region=$AWS_DEFAULT_REGION \"$@\"; }}\n\
         cp -r '{}' tree; head -c 20M /dev/urandom > tree/blob\n\
         restic init; restic backup tree; echo more > tree/more; restic backup tree\n\
         restic check --read-data; restic restore latest --target out; diff -r tree out/tree\n\
         restic forget --keep-last 1 --prune; restic check\n\
         export RESTIC_REPOSITORY=swift:archive:/; restic init; restic backup tree; rm tree/blob; restic backup tree\n\
         restic forget --keep-last 1 --prune; restic check --read-data\n\
         rm -r out; restic restore latest --target out; diff -r tree out/tree\n",
        tree.display()
    ));
}
