//! Forms of a browser and archives: many objects in one request.
use std::io::Write as _;

use hmac::{Hmac, KeyInit, Mac};

use super::door::{ALICE, Door, MALLORY, Reply};

const KIND: (&str, &str) = ("Content-Type", "multipart/form-data; boundary=xx");

/// A form for `path`, signed with `key`.
struct Form<'a> {
    path: &'a str,
    redirect: &'a str,
    size: u64,
    count: u64,
    expires: u64,
    key: &'a str,
}

impl Form<'_> {
    fn signature(&self) -> String {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(self.key.as_bytes()).unwrap();
        let said = [
            self.path,
            self.redirect,
            &self.size.to_string(),
            &self.count.to_string(),
            &self.expires.to_string(),
        ];
        mac.update(said.join("\n").as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }

    fn body(&self, files: &[(&str, &str)]) -> Vec<u8> {
        let mut body = String::new();
        let mut add = |disposition: &str, data: &str| {
            body.push_str("--xx\r\nContent-Disposition: form-data; ");
            body.push_str(&format!("{disposition}\r\n\r\n{data}\r\n"));
        };
        for (name, value) in [
            ("redirect", self.redirect.to_owned()),
            ("max_file_size", self.size.to_string()),
            ("max_file_count", self.count.to_string()),
            ("expires", self.expires.to_string()),
            ("signature", self.signature()),
        ] {
            add(&format!("name=\"{name}\""), &value);
        }
        for (name, data) in files {
            add(
                &format!("name=\"f\"; filename=\"{name}\"\r\nContent-Type: text/x"),
                data,
            );
        }
        body.push_str("--xx--\r\n");
        body.into_bytes()
    }

    async fn send(&self, door: &Door, files: &[(&str, &str)]) -> Reply {
        let line = format!("POST {}", self.path);
        door.call("", &line, &[KIND], &self.body(files)).await
    }
}

async fn with_key() -> Door {
    let door = Door::open().await;
    let key = [("X-Container-Meta-Temp-URL-Key", "key")];
    door.alice("PUT /v1/AUTH_p/c", &key, b"", 201).await;
    door
}

fn form(path: &str) -> Form<'_> {
    Form {
        path,
        redirect: "",
        size: 10,
        count: 2,
        expires: Door::now() + 100,
        key: "key",
    }
}

#[tokio::test]
async fn a_signed_form_stores_its_files_below_its_path() {
    let door = with_key().await;
    let done = form("/v1/AUTH_p/c/up/")
        .send(&door, &[("a", "one"), ("b c", "")])
        .await;
    assert_eq!((done.status, done.text().as_str()), (201, "201 Created"));
    for (name, body) in [("up/a", "one"), ("up/b%20c", "")] {
        let got = door
            .alice(&format!("GET /v1/AUTH_p/c/{name}"), &[], b"", 200)
            .await;
        assert_eq!(
            (got.text().as_str(), got.header("content-type")),
            (body, Some("text/x"))
        );
    }
    let redirect = Form {
        redirect: "http://there/?a=b",
        ..form("/v1/AUTH_p/c")
    };
    let sent = redirect.send(&door, &[("x", "1")]).await;
    assert_eq!(sent.status, 303);
    assert_eq!(
        sent.header("location"),
        Some("http://there/?a=b&status=201&message=")
    );
    door.alice("GET /v1/AUTH_p/c/x", &[], b"", 200).await;
}

#[tokio::test]
async fn a_form_permits_what_was_signed_and_nothing_else() {
    let door = with_key().await;
    door.alice("PUT /v1/AUTH_p/d", &[], b"", 201).await;
    let good = || form("/v1/AUTH_p/c/");
    for (form, status, says) in [
        (
            Form {
                key: "guess",
                ..good()
            },
            401,
            "FormPost: Invalid Signature",
        ),
        (Form { expires: 1, ..good() }, 401, "FormPost: Form Expired"),
        (form("/v1/AUTH_p/d/"), 401, "FormPost: Invalid Signature"),
        (form("/v1/AUTH_p"), 401, "FormPost: Invalid Signature"),
        (
            Form { size: 2, ..good() },
            400,
            "FormPost: max_file_size exceeded",
        ),
    ] {
        let got = form.send(&door, &[("a", "one")]).await;
        assert_eq!(got.status, status, "{}", got.text());
        assert!(got.text().contains(says), "{}", got.text());
        let challenge = (status == 401).then_some("Swift realm=\"unknown\"");
        assert_eq!(got.header("www-authenticate"), challenge, "{says}");
    }
    door.alice("GET /v1/AUTH_p/c", &[], b"", 204).await;
    let many = good().send(&door, &[("a", "1"), ("b", "2"), ("c", "3")]).await;
    assert_eq!(many.status, 400, "{}", many.text());
    assert!(many.text().contains("Max File Count Exceeded"));
    assert_eq!(
        door.alice("GET /v1/AUTH_p/c", &[], b"", 200).await.text(),
        "a\nb\n"
    );
    let none = good().send(&door, &[]).await;
    assert!(none.text().contains("No Files To Process"), "{}", none.text());
    // What a browser sends of a field in which no file was chosen.
    let unchosen = good().send(&door, &[("", "")]).await;
    assert!(
        unchosen.text().contains("No Files To Process"),
        "{}",
        unchosen.text()
    );
}

#[tokio::test]
async fn forms_that_are_none_are_refused() {
    let door = with_key().await;
    let body = form("/v1/AUTH_p/c/").body(&[("a", "one")]);
    let text = String::from_utf8(body.clone()).unwrap();
    for body in [
        b"nonsense".to_vec(),
        body[..body.len() - 20].to_vec(),
        text.replace("max_file_size", "other").into_bytes(),
        text.replace("name=\"expires\"", "nam").into_bytes(),
        text.replacen("\r\n\r\n", &format!("\r\n\r\n{}", "x".repeat(5000)), 1)
            .into_bytes(),
    ] {
        let got = door.call("", "POST /v1/AUTH_p/c/", &[KIND], &body).await;
        assert!([400, 499].contains(&got.status), "{}: {}", got.status, got.text());
    }
    door.alice("GET /v1/AUTH_p/c", &[], b"", 204).await;
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, data) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        builder.append_data(&mut header, path, *data).unwrap();
    }
    builder.into_inner().unwrap()
}

#[tokio::test]
async fn the_files_of_an_archive_become_objects() {
    let door = Door::open().await;
    let archive = tar(&[
        ("c/a.txt", b"one"),
        ("c/dir/b", b""),
        ("top", b"x"),
        ("./d/e", b"two"),
    ]);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&archive).unwrap();
    let json = [("Accept", "application/json")];
    let line = "PUT /v1/AUTH_p?extract-archive=tar.gz";
    let report = door.alice(line, &json, &gz.finish().unwrap(), 200).await.json();
    assert_eq!(report["Number Files Created"], 3, "{report}");
    assert_eq!(report["Response Status"], "201 Created");
    let got = door.alice("GET /v1/AUTH_p/c/a.txt", &[], b"", 200).await;
    assert_eq!(
        (got.text().as_str(), got.header("content-type")),
        ("one", Some("text/plain"))
    );
    assert_eq!(
        door.alice("GET /v1/AUTH_p/d/e", &[], b"", 200).await.text(),
        "two"
    );
    door.alice("HEAD /v1/AUTH_p/c/dir/b", &[], b"", 200).await;
    let below = tar(&[("x", b"1")]);
    let line = "PUT /v1/AUTH_p/c/below?extract-archive=tar";
    let report = door.alice(line, &json, &below, 200).await.json();
    assert_eq!(report["Number Files Created"], 1, "{report}");
    door.alice("HEAD /v1/AUTH_p/c/below/x", &[], b"", 200).await;
}

#[tokio::test]
async fn what_cannot_be_extracted_is_reported() {
    let door = Door::open().await;
    let json = [("Accept", "application/json")];
    let bad_name = format!("c/{}", "n".repeat(1100));
    let archive = tar(&[(&bad_name, b"1"), ("c/good", b"2")]);
    let extract = "PUT /v1/AUTH_p?extract-archive=tar";
    let report = door.alice(extract, &json, &archive, 200).await.json();
    assert_eq!(report["Number Files Created"], 1, "{report}");
    assert_eq!(report["Response Status"], "400 Bad Request");
    assert_eq!(report["Errors"].as_array().unwrap().len(), 1);
    for (body, says) in [(&b"nonsense"[..], "Invalid Tar File"), (&archive[..700], "")] {
        let report = door.alice(extract, &json, body, 200).await.json();
        assert_eq!(report["Response Status"], "400 Bad Request", "{report}");
        assert!(
            report["Response Body"].as_str().unwrap().contains(says),
            "{report}"
        );
    }
    let report = door.call(MALLORY, extract, &json, &archive).await.json();
    assert_eq!(report["Number Files Created"], 0, "{report}");
    let report = door.call("", extract, &json, &archive).await.json();
    assert_eq!(report["Response Status"], "401 Unauthorized", "{report}");
    for (line, accept, status) in [
        ("PUT /v1/AUTH_p?extract-archive=zip", "*/*", 400),
        ("PUT /v1/AUTH_p?extract-archive=tar", "image/png", 406),
    ] {
        let got = door.call(ALICE, line, &[("Accept", accept)], &archive).await;
        assert_eq!(got.status, status, "{line}");
    }
}
