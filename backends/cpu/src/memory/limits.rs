//! What a container allows.

/// Bytes that the process's control groups let it use, as far as they say.
pub fn of_container() -> Vec<u64> {
    #[cfg(target_os = "linux")]
    {
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        files(&groups).iter().filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok()).collect()
    }
    #[cfg(not(target_os = "linux"))]
    Vec::new()
}

/// Where limits of these groups (lines `id:controllers:path`) and of all above them would be; inside of a container they often begin at
/// its own root.
#[cfg(any(target_os = "linux", test))]
fn files(groups: &str) -> Vec<String> {
    let mut files = Vec::new();
    for group in groups.lines() {
        let mut fields = group.splitn(3, ':').skip(1);
        let (root, names): (&str, &[&str]) = match fields.next() {
            Some("") => ("/sys/fs/cgroup", &["memory.max", "memory.high"]),
            Some(controllers) if controllers.split(',').any(|c| c == "memory") => {
                ("/sys/fs/cgroup/memory", &["memory.limit_in_bytes"])
            }
            _ => continue,
        };
        let mut path = fields.next().unwrap_or("/").trim_end_matches('/');
        loop {
            files.extend(names.iter().map(|name| format!("{root}{path}/{name}")));
            let Some(parent) = path.rfind('/') else { break };
            path = &path[..parent];
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_both_versions() {
        assert_eq!(
            files("0::/a/b\n"),
            ["/a/b/memory.max", "/a/b/memory.high", "/a/memory.max", "/a/memory.high", "/memory.max", "/memory.high"]
                .map(|f| format!("/sys/fs/cgroup{f}"))
        );
        let old = files("11:cpu,cpuacct:/x\n4:memory:/\n");
        assert_eq!(old, ["/sys/fs/cgroup/memory/memory.limit_in_bytes"]);
        assert!(files("nonsense").is_empty());
    }
}
