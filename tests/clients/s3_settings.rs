//! What S3 buckets can be told, by the AWS CLI and boto3 as their users run
//! them: versions, life cycles, encryption, locks; and uploads that others make
//! with what a key holder signed.
use virga_tests::cloud::Cloud;

use crate::object_clients::NOT;
use crate::s3_clients::KEYS;

/// `api VERB ...` is `aws s3api VERB --bucket box ...`, `refused CODE COMMAND`
/// passes where the command ends with that error.
const SHORT: &str = "api() { verb=$1; shift; aws s3api $verb --bucket box \"$@\"; }\n\
    refused() { code=$1; shift; not \"$@\"; grep -q \"$code\" said || { cat said; return 1; }; }\n";

fn run(cloud: &Cloud, script: &str) -> String {
    cloud.demo_shell(&format!("{KEYS}{NOT}{SHORT}{script}"))
}

#[test]
fn aws_keeps_reads_and_restores_versions() {
    let cloud = Cloud::start();
    run(
        &cloud,
        "echo one > one; echo two > two; aws s3 mb s3://box > /dev/null\n\
         api put-bucket-versioning --versioning-configuration Status=Enabled\n\
         put() { api put-object --key k --body $1 --query VersionId --output text; }\n\
         v1=$(put one); v2=$(put two); test $v1 != $v2\n\
         api get-object --key k --version-id $v1 back > /dev/null; cmp one back\n\
         test \"$(swift download --quiet box k -o -)\" = two\n\
         api delete-object --key k > /dev/null; refused 404 aws s3 cp s3://box/k gone\n\
         test \"$(api list-object-versions --query '[length(Versions), DeleteMarkers[0].IsLatest]' --output text)\" = $'2\\tTrue'\n\
         marker=$(api list-object-versions --query 'DeleteMarkers[0].VersionId' --output text)\n\
         api delete-object --key k --version-id $marker > /dev/null; aws s3 cp --quiet s3://box/k back; cmp two back\n\
         api delete-object --key k --version-id $v2 > /dev/null; aws s3 cp --quiet s3://box/k back; cmp one back\n\
         refused NoSuchVersion api get-object --key k --version-id $v2 gone\n\
         api put-bucket-versioning --versioning-configuration Status=Suspended\n\
         test $(put two) = null; test $(put two) = null\n\
         test \"$(api list-object-versions --query 'length(Versions)')\" = 2\n",
    );
}

#[test]
fn aws_sets_shows_and_removes_life_cycles() {
    let cloud = Cloud::start();
    run(
        &cloud,
        "aws s3 mb s3://box > /dev/null; echo x > x\n\
         cat > rules.json <<'J'\n\
{\"Rules\": [\n\
 {\"ID\": \"short\", \"Status\": \"Enabled\", \"Filter\": {\"Prefix\": \"tmp/\"}, \"Expiration\": {\"Days\": 3}},\n\
 {\"ID\": \"old\", \"Status\": \"Disabled\", \"Expiration\": {\"Date\": \"2030-01-01T00:00:00.000Z\"},\n\
  \"Filter\": {\"And\": {\"Prefix\": \"a\", \"Tags\": [{\"Key\": \"k\", \"Value\": \"v\"}], \"ObjectSizeGreaterThan\": 5}}},\n\
 {\"ID\": \"tidy\", \"Status\": \"Enabled\", \"Filter\": {\"Prefix\": \"\"},\n\
  \"NoncurrentVersionExpiration\": {\"NoncurrentDays\": 7, \"NewerNoncurrentVersions\": 2},\n\
  \"AbortIncompleteMultipartUpload\": {\"DaysAfterInitiation\": 1}}]}\n\
J\n\
         api put-bucket-lifecycle-configuration --lifecycle-configuration file://rules.json > /dev/null\n\
         api get-bucket-lifecycle-configuration > back.json\n\
         python -c 'import json; load = lambda name: json.load(open(name))[\"Rules\"]; assert load(\"rules.json\") == load(\"back.json\")'\n\
         api put-object --key tmp/x --body x --query Expiration --output text | grep -q 'rule-id=\"short\"'\n\
         test \"$(api put-object --key x --body x --query Expiration --output text)\" = None\n\
         sed 's/\"Expiration\": {\"Days\": 3}/\"Transitions\": [{\"Days\": 3, \"StorageClass\": \"GLACIER\"}]/' rules.json > bad.json\n\
         refused NotImplemented api put-bucket-lifecycle-configuration --lifecycle-configuration file://bad.json\n\
         test \"$(api get-bucket-lifecycle-configuration --query 'length(Rules)')\" = 3\n\
         api delete-bucket-lifecycle; refused NoSuchLifecycleConfiguration api get-bucket-lifecycle-configuration\n",
    );
}

#[test]
fn s3cmd_sets_and_removes_an_expiry_by_days_and_by_date() {
    let cloud = Cloud::start();
    run(
        &cloud,
        "host=${AWS_ENDPOINT_URL#http://}\n\
         s3() { s3cmd --no-progress --config none --access_key $AWS_ACCESS_KEY_ID --secret_key $AWS_SECRET_ACCESS_KEY \
         --host $host --host-bucket $host --no-ssl --region $AWS_DEFAULT_REGION \"$@\"; }\n\
         s3 mb s3://box > /dev/null; s3 expire --expiry-days=365 --expiry-prefix=log/ s3://box\n\
         s3 info s3://box | grep -q \"Expiration Rule: .*log/.*365.*day\"\n\
         s3 expire --expiry-date=2030-12-31T00:00:00.000Z s3://box\n\
         s3 info s3://box | grep -q 'Expiration Rule: .*2030-12-31T00:00:00'\n\
         refused MalformedXML s3 expire --expiry-date=tomorrow s3://box\n\
         s3 expire s3://box; s3 info s3://box | grep -q 'Expiration rule: none'\n",
    );
}

#[test]
fn aws_encrypts_with_the_clouds_keys_and_with_its_own() {
    let cloud = Cloud::start();
    run(
        &cloud,
        "aws s3 mb s3://box > /dev/null; (echo open needle; head -c 1M /dev/urandom) > open\n\
         (echo hidden needle; head -c 6M /dev/urandom) > body; head -c 32 /dev/urandom > key; head -c 32 /dev/urandom > other\n\
         stored() { grep -rqa \"$1\" data; }\n\
         api put-object --key open --body open > /dev/null; stored 'open needle'\n\
         test \"$(api put-object --key k --body body --server-side-encryption AES256 --query ServerSideEncryption --output text)\" = AES256\n\
         test \"$(api head-object --key k --query ServerSideEncryption --output text)\" = AES256\n\
         swift download --quiet box k -o back; cmp body back\n\
         with() { echo --sse-customer-algorithm AES256 --sse-customer-key fileb://$1; }\n\
         api put-object --key own --body body $(with key) > /dev/null\n\
         api get-object --key own $(with key) --range bytes=7-12 part > /dev/null; test \"$(cat part)\" = needle\n\
         refused InvalidRequest api get-object --key own gone; refused AccessDenied api get-object --key own $(with other) gone\n\
         refused 403 swift download box own\n\
         aws s3 cp --quiet --sse-c AES256 --sse-c-key fileb://key body s3://box/parts\n\
         aws s3 cp --quiet --sse-c AES256 --sse-c-key fileb://key s3://box/parts back; cmp body back\n\
         api put-bucket-encryption --server-side-encryption-configuration \
         '{\"Rules\": [{\"ApplyServerSideEncryptionByDefault\": {\"SSEAlgorithm\": \"AES256\"}}]}'\n\
         swift upload --quiet box body; test \"$(api head-object --key body --query ServerSideEncryption --output text)\" = AES256\n\
         ! stored 'hidden needle'\n",
    );
}

#[test]
fn aws_locks_versions_and_nobody_deletes_them_before_their_time() {
    let cloud = Cloud::start();
    run(
        &cloud,
        "echo x > x; api create-bucket --object-lock-enabled-for-bucket > /dev/null\n\
         api put-object-lock-configuration --object-lock-configuration \
         '{\"ObjectLockEnabled\": \"Enabled\", \"Rule\": {\"DefaultRetention\": {\"Mode\": \"GOVERNANCE\", \"Days\": 1}}}' > /dev/null\n\
         put() { api put-object --key $1 --body x --query VersionId --output text; }\n\
         delete() { api delete-object --key $1 --version-id $2; }\n\
         v=$(put k); test \"$(api head-object --key k --query ObjectLockMode --output text)\" = GOVERNANCE\n\
         refused AccessDenied delete k $v; api delete-object --key k --version-id $v --bypass-governance-retention > /dev/null\n\
         v=$(put held); api put-object-legal-hold --key held --legal-hold Status=ON > /dev/null\n\
         refused AccessDenied api delete-object --key held --version-id $v --bypass-governance-retention\n\
         api put-object-legal-hold --key held --legal-hold Status=OFF > /dev/null\n\
         api delete-object --key held --version-id $v --bypass-governance-retention > /dev/null\n\
         v=$(put strict); until=$(date -u -d '+2 days' +%FT%TZ)\n\
         api put-object-retention --key strict --retention Mode=COMPLIANCE,RetainUntilDate=$until > /dev/null\n\
         refused AccessDenied api delete-object --key strict --version-id $v --bypass-governance-retention\n\
         api delete-object --key strict > /dev/null; api get-object --key strict --version-id $v back > /dev/null; cmp x back\n",
    );
}

#[test]
fn curl_uploads_by_a_form_that_boto3_signed() {
    let cloud = Cloud::start();
    run(
        &cloud,
        "aws s3 mb s3://box > /dev/null; head -c 300000 /dev/urandom > file; head -c 400000 /dev/urandom > large\n\
         cat > sign.py <<'P'\n\
import boto3, sys\n\
from botocore.config import Config\n\
s3 = boto3.client('s3', config=Config(signature_version=sys.argv[1]))\n\
fields = {'Content-Type': 'image/png', 'success_action_status': '201'}\n\
conditions = [['starts-with', '$key', 'in/'], {'Content-Type': 'image/png'}, {'success_action_status': '201'}]\n\
conditions.append(['content-length-range', 1, 350000])\n\
post = s3.generate_presigned_post('box', 'in/${filename}', fields, conditions, 600)\n\
print('\\n'.join(f'form-string = \"{name}={value}\"' for name, value in post['fields'].items()))\n\
print(f'url = \"{post[\"url\"]}\"')\n\
P\n\
         post() { config=$1; shift; curl -sS -o said -w '%{http_code}' -K $config \"$@\"; }\n\
         for version in s3v4 s3; do\n\
         python sign.py $version > form; aws s3 rm --quiet s3://box/in/file\n\
         test \"$(post form -F file=@file)\" = 201; grep -q '<Key>in/file</Key>' said\n\
         aws s3 cp --quiet s3://box/in/file back; cmp file back\n\
         test \"$(api head-object --key in/file --query ContentType --output text)\" = image/png\n\
         test \"$(post form -F file=@large)\" = 400; grep -q EntityTooLarge said\n\
         sed 's|=in/|=out/|' form > elsewhere; test \"$(post elsewhere -F file=@file)\" = 403\n\
         sed 's|image/png|text/html|' form > typed; test \"$(post typed -F file=@file)\" = 403\n\
         done\n\
         test \"$(aws s3 ls --recursive s3://box | wc -l)\" = 1\n",
    );
}

#[test]
fn curl_reads_and_writes_by_links_that_boto3_signed_in_either_version() {
    let cloud = Cloud::start();
    run(
        &cloud,
        "aws s3 mb s3://box > /dev/null; echo one > one; echo two > two\n\
         cat > sign.py <<'P'\n\
import boto3, sys\n\
from botocore.config import Config\n\
version, verb, seconds = sys.argv[1:]\n\
s3 = boto3.client('s3', config=Config(signature_version=version, s3={'addressing_style': 'path'}))\n\
print(s3.generate_presigned_url(verb, dict(Bucket='box', Key='a b/\\u00e4'), ExpiresIn=int(seconds)))\n\
P\n\
         for version in s3v4 s3; do\n\
           sign() { python sign.py $version \"$@\"; }\n\
           put=$(sign put_object 300); get=$(sign get_object 300)\n\
           curl -fsS -T one \"$put\"; curl -fsS \"$get\" | cmp - one\n\
           test \"$(curl -s -o said -w '%{http_code}' -T two \"$get\")\" = 403; grep -q SignatureDoesNotMatch said\n\
           test \"$(curl -s -o said -w '%{http_code}' \"$(sign get_object -60)\")\" != 200\n\
           curl -fsS \"$get\" | cmp - one\n\
         done\n",
    );
}
