//! The program from outside: real processes on free ports in temporary directories.

#[cfg(test)]
mod stage;

#[cfg(test)]
mod control;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod whole;
