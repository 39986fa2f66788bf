use virga_tests::cloud::{Cloud, Shape};

#[test]
fn openstack_issues_tokens_shows_the_catalog_and_the_admin_makes_projects() {
    let cloud = Cloud::start_as(Shape {
        devices: 1,
        ..Shape::default()
    });
    let demo = cloud.demo_shell(
        "openstack token issue -f value -c id | grep -q .\n\
         openstack catalog list -f value -c Type\n",
    );
    assert!(
        demo.contains("identity") && demo.contains("object-store"),
        "{demo}"
    );
    let admin = cloud.shell(
        "openrc",
        "openstack project create --description 'made by a test' blue -f value -c name\n\
         openstack user create --project blue --password pw painter -f value -c name\n\
         openstack role add --project blue --user painter member\n\
         openstack role assignment list --project blue --names -f value -c Role -c User\n\
         OS_USERNAME=painter OS_PASSWORD=pw OS_PROJECT_NAME=blue openstack token issue -f value -c project_id\n\
         openstack project delete blue\n",
    );
    assert!(
        admin.contains("blue\n") && admin.contains("member painter@Default"),
        "{admin}"
    );
}

#[test]
fn openstack_refuses_the_demo_user_what_only_the_admin_may() {
    let cloud = Cloud::start_as(Shape {
        devices: 1,
        ..Shape::default()
    });
    let said = cloud.demo_shell("openstack project create nope 2>&1 && exit 1 || true");
    assert!(said.contains("403"), "{said}");
    let said = cloud.demo_shell("OS_PASSWORD=wrong openstack token issue 2>&1 && exit 1 || true");
    assert!(said.contains("401"), "{said}");
}

#[test]
fn openstack_keeps_objects_in_containers() {
    let cloud = Cloud::start_as(Shape {
        devices: 1,
        ..Shape::default()
    });
    let said = cloud.demo_shell(
        "echo hello > hello.txt\n\
         openstack container create box -f value -c container\n\
         openstack object create box hello.txt -f value -c object\n\
         openstack object list box -f value\n\
         openstack object save --file back.txt box hello.txt; cmp hello.txt back.txt\n\
         openstack object show box hello.txt -f value -c content-length\n\
         openstack object delete box hello.txt; openstack container delete box\n\
         openstack container list -f value\n",
    );
    assert_eq!(said, "box\nhello.txt\nhello.txt\n6\n");
}
