//! Keeps a thread on a processor.

#![allow(unsafe_code)]

/// Keeps this thread on the `i`th of the processors that the process may use. Two threads that wake each
/// other every 100 µs are else often put on one processor, for milliseconds, beside an idle one.
pub fn pin(i: usize) {
    #[cfg(target_os = "linux")]
    // SAFETY: both calls read or write the set, whose size they are told; all zeros is a valid set.
    unsafe {
        let mut all: libc::cpu_set_t = std::mem::zeroed();
        let size = size_of::<libc::cpu_set_t>();
        if libc::sched_getaffinity(0, size, &mut all) != 0 {
            return;
        }
        let usable = (0..libc::CPU_SETSIZE as usize).filter(|c| libc::CPU_ISSET(*c, &all));
        if let Some(cpu) = usable.into_iter().nth(i) {
            let mut one: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(cpu, &mut one);
            libc::sched_setaffinity(0, size, &one);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = i;
}
