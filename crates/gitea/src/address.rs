//! Addresses of mirrors.

use url::Url;

/// Whether two clone addresses name the same repository: without credentials, `.git`, a final slash, and case.
pub fn same_address(a: &str, b: &str) -> bool {
    normal(a) == normal(b)
}

fn normal(text: &str) -> String {
    let plain = match Url::parse(text) {
        Ok(url) => {
            let port = url
                .port()
                .map(|port| format!(":{port}"))
                .unwrap_or_default();
            format!("{}{port}{}", url.host_str().unwrap_or_default(), url.path())
        }
        Err(_) => text.to_owned(),
    };
    plain
        .trim_end_matches('/')
        .trim_end_matches(".git")
        .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_repository_is_known_through_credentials_suffix_and_case() {
        assert!(same_address(
            "https://x:y@GitHub.com/Acme/Shop.git",
            "https://github.com/acme/shop"
        ));
        assert!(!same_address(
            "https://github.com/acme/shop",
            "https://github.com/acme/shop2"
        ));
    }
}
