// Simulation of the core with its C driver: registers through AXI4-Lite, one memory behind both AXI4 masters.
//
// Needs nothing but this package and Verilator. run_cache.h says what is run.

#include "Vlatte_axi_cache.h"
#include "bench_system.h"
#include "run_cache.h"

int main() {
    System<Vlatte_axi_cache> system(kMemoryBytes);
    system.connect(MASTER_PORTS(system.core(), m_axi));
    system.connect(MASTER_PORTS(system.core(), m_axi_cache));
    system.power_up();
    return run_cache(system);
}
