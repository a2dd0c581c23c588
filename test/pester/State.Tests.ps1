#requires -Version 5.1
#requires -Modules @{ ModuleName = 'Pester'; ModuleVersion = '5.0.0' }
BeforeAll {
    $script:Modules = [System.IO.Path]::Combine($PSScriptRoot, '..', '..', 'lib', 'agent', 'powershell', 'scripts', 'modules')
    Import-Module -Name ([System.IO.Path]::Combine($script:Modules, 'Gcb.State.psm1')) -Force
}

Describe 'records' {
    BeforeEach { $script:State = [System.IO.Path]::Combine($TestDrive, [guid]::NewGuid().ToString()) }

    It 'come back with their lists and numbers, and are replaced as a whole' {
        Save-GcbRecord -StateDirectory $script:State -Kind 'checkpoints' -Tag 'run/1' -Record ([ordered]@{ tag = 'run/1'; before = @('a'); startedAtMs = 1700000000000 })
        Save-GcbRecord -StateDirectory $script:State -Kind 'checkpoints' -Tag 'run/1' -Record ([ordered]@{ tag = 'run/1'; before = @(); startedAtMs = 1700000000001 })
        $found = @(Get-GcbRecord -StateDirectory $script:State -Kind 'checkpoints')
        $found.Count | Should -Be 1
        $found[0].startedAtMs | Should -Be 1700000000001
        @($found[0].before).Count | Should -Be 0
    }

    It 'never leave their folder, whatever the tag' {
        Save-GcbRecord -StateDirectory $script:State -Kind 'checkpoints' -Tag '..\..\evil' -Record ([ordered]@{ tag = '..\..\evil' })
        @([System.IO.Directory]::GetFiles($script:State, '*', [System.IO.SearchOption]::AllDirectories)).Count | Should -Be 1
        @(Get-GcbRecord -StateDirectory $script:State -Kind 'checkpoints')[0].tag | Should -BeExactly '..\..\evil'
    }

    It 'that lost their final name in a crash still count' {
        Save-GcbRecord -StateDirectory $script:State -Kind 'checkpoints' -Tag 'a' -Record ([ordered]@{ tag = 'a' })
        $folder = Get-GcbStateFolder -StateDirectory $script:State -Kind 'checkpoints'
        $file = @([System.IO.Directory]::GetFiles($folder))[0]
        [System.IO.File]::Move($file, $file + '.new')
        @(Get-GcbRecord -StateDirectory $script:State -Kind 'checkpoints')[0].tag | Should -BeExactly 'a'
    }

    It 'that cannot be read are put aside' {
        $folder = Get-GcbStateFolder -StateDirectory $script:State -Kind 'checkpoints'
        [System.IO.File]::WriteAllText([System.IO.Path]::Combine($folder, 'ff.json'), '{"tag":')
        @(Get-GcbRecord -StateDirectory $script:State -Kind 'checkpoints').Count | Should -Be 0
        @([System.IO.Directory]::GetFiles($folder, '*.unreadable')).Count | Should -Be 1
    }

    It 'can be removed twice' {
        Save-GcbRecord -StateDirectory $script:State -Kind 'mounts' -Tag 'a' -Record ([ordered]@{ tag = 'a' })
        Remove-GcbRecord -StateDirectory $script:State -Kind 'mounts' -Tag 'a'
        Remove-GcbRecord -StateDirectory $script:State -Kind 'mounts' -Tag 'a'
        @(Get-GcbRecord -StateDirectory $script:State -Kind 'mounts').Count | Should -Be 0
    }
}
