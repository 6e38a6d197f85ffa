// Simulation of the core with its C driver: registers through AXI4-Lite, memory behind the AXI4 master.
//
// Needs nothing but this package and Verilator. run_head.h says what is run.

#include "Vlatte_axi.h"
#include "bench_system.h"
#include "run_head.h"

int main() {
    System<Vlatte_axi> system(kMemoryBytes);
    system.connect(MASTER_PORTS(system.core(), m_axi));
    system.power_up();
    return run_head(system);
}
